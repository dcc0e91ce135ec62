//! Chance in pauses, so that many who were put off do not come back in step.

use std::time::Duration;

/// Anything from nothing to `most`. Without randomness there is no pause, and nothing else is lost.
pub fn full_jitter(most: Duration) -> Duration {
    let mut bytes = [0_u8; 4];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    most.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
