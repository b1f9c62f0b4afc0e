//! The search: propose, merge, evaluate, tell, and write everything down.
