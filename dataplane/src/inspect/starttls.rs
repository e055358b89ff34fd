//! What may stand before a ClientHello.
