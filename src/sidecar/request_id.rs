//! Request ids: random UUIDs (RFC 9562 §5.4), unguessable and unique across sidecars.

use aws_lc_rs::rand;

/// A fresh id, such as `3f0c…`. If the system's randomness fails the id is all zeros but for version and variant, and
/// still a valid UUID.
pub fn fresh() -> String {
    let mut bytes = [0_u8; 16];
    let _ = rand::fill(&mut bytes);
    let number = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032x}");
    let mut id = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_version_four() {
        let id = super::fresh();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
        assert_ne!(id, super::fresh());
    }
}
