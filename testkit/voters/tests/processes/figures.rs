//! Figures of three voters on loopback.
