//! Reports: what the ledger's entries say of one grant, or of a period. Pure: no I/O, no clock.
//!
//! 1. [`told`]: one entry read back; `line`: what a sidecar's own line says besides.
//! 2. [`incident`]: the story of one grant. [`period`]: a period in numbers, entry by entry, in bounded memory.
//! 3. [`page`]: either as headings and tables; [`html`] and [`csv`]: as documents.
//!
//! INVARIANT: a report is made of entries and the personal values beside them, of nothing else. What was erased is shown as
//! erased. Must never: show a value in HTML or CSV that the format could take for its own.

#[cfg(feature = "control")]
pub mod csv;
#[cfg(feature = "control")]
pub mod html;
#[cfg(feature = "control")]
pub mod incident;
#[cfg(feature = "control")]
mod line;
pub mod page;
#[cfg(feature = "control")]
pub mod period;
#[cfg(test)]
#[cfg(feature = "control")]
mod sample;
#[cfg(feature = "control")]
pub mod told;
