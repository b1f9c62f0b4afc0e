//! What a search shows: tables, plots, CSV.
