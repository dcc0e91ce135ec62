//! Bytes as they are shown: hexadecimal, in small letters.
//!
//! Every line of an audit log has some hundred bytes of it, so it is written in one piece and not byte by byte.

use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Bytes that are written at once.
const PIECE: usize = 32;

/// Displays two digits a byte.
#[derive(Debug, Clone, Copy)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chunks(PIECE).try_for_each(|piece| {
            let mut room = [0; PIECE * 2];
            f.write_str(digits(piece, &mut room))
        })
    }
}

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for piece in bytes.chunks(PIECE) {
        text.push_str(digits(piece, &mut [0; PIECE * 2]));
    }
    text
}

/// At most a piece.
fn digits<'r>(piece: &[u8], room: &'r mut [u8; PIECE * 2]) -> &'r str {
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    for (pair, byte) in room.chunks_exact_mut(2).zip(piece) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
    let written = room.get(..piece.len().saturating_mul(2)).unwrap_or_default();
    std::str::from_utf8(written).unwrap_or_default()
}

/// Exactly `N` bytes in lower-case hexadecimal: one spelling only.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(out)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let bytes: Vec<u8> = (0..length).map(|n| u8::try_from(n * 5 % 256).unwrap()).collect();
            let one_by_one: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex(&bytes), one_by_one);
            assert_eq!(Hex(&bytes).to_string(), one_by_one);
        }
    }

    #[test]
    fn one_spelling_is_read() {
        assert_eq!(parse_hex("000fa0ff"), Some([0x00, 0x0f, 0xa0, 0xff]));
        for other in
            ["", "000fa0f", "000fa0fff", "000fa0ff00", "000FA0ff", "+00fa0ff", " 00fa0ff", "000fa0fg", "é00fa0f"]
        {
            assert_eq!(parse_hex::<4>(other), None, "{other}");
        }
    }
}
