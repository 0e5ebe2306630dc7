//! RESP, slots and ids of Coterie. No I/O.
