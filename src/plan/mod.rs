//! From a merge config to every output tensor: its inputs, its resolved parameters, its bytes.
