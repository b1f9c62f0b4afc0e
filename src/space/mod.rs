//! The room `space`.
