//! IP fragments.
