//! The room `architecture`.
