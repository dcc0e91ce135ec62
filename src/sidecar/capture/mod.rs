//! Beside step 7: members of JSON bodies that a route names are kept for the override's outcome.
//!
//! A body is copied as it passes, up to a limit, and looked at when the override has ended: nothing waits for it, and not a
//! byte of what is forwarded is touched. What can't be kept is said in the line instead. Ordinary traffic never comes here.
//!
//! INVARIANT: all bodies that are held at once take at most `memory_bytes_max` of `[audit.capture]`.

mod extract;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use self::extract::extract;
use super::exchange::Direction;
use super::keyed_digest::{DigestKey, KeyFileError};
use crate::audit::Captured;
use crate::audit::captured::{CapturedBody, NotCaptured, Told};
use crate::config::capture::CaptureConfig;
use crate::config::captured_field::{CapturedField, CapturedSide};

/// What captures share.
#[derive(Debug)]
pub struct CaptureRoom {
    key: Option<DigestKey>,
    body_bytes_max: usize,
    memory_bytes_max: usize,
    held: AtomicUsize,
}

impl CaptureRoom {
    /// Reads the key. Blocks on the disk.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn new(config: &CaptureConfig) -> Result<Self, KeyFileError> {
        Ok(Self {
            key: config.key_file.as_deref().map(DigestKey::load).transpose()?,
            body_bytes_max: config.body_bytes_max,
            memory_bytes_max: config.memory_bytes_max,
            held: AtomicUsize::new(0),
        })
    }

    /// Bytes of bodies that are held now.
    pub fn held_bytes(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= self.memory_bytes_max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// How the bodies of an override passed.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub request_whole: bool,
    pub response_whole: bool,
    pub switched_protocols: bool,
}

/// What is kept of one override.
#[derive(Debug)]
pub struct Capture {
    fields: Arc<[CapturedField]>,
    request: Option<Copied>,
    response: Option<Copied>,
    room: Arc<CaptureRoom>,
}

impl Capture {
    /// For the fields of a route; `None` where it names none.
    pub fn of(fields: &Arc<[CapturedField]>, request: &HeaderMap, room: &Arc<CaptureRoom>) -> Option<Self> {
        if fields.is_empty() {
            return None;
        }
        let names = |side| fields.iter().any(|field| field.body == side);
        let copied = |side| names(side).then(|| Copied::new(Arc::clone(room)));
        let mut capture = Self {
            fields: Arc::clone(fields),
            request: copied(CapturedSide::Request),
            response: copied(CapturedSide::Response),
            room: Arc::clone(room),
        };
        capture.note_head(Direction::Request, request);
        Some(capture)
    }

    /// The head of a body.
    pub fn note_head(&mut self, direction: Direction, headers: &HeaderMap) {
        let is_plain = |coding: &http::HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
        if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain)
            && let Some(copied) = self.copied(direction)
        {
            copied.give_up(NotCaptured::Encoded);
        }
    }

    /// Some of a body has passed.
    pub fn take(&mut self, direction: Direction, data: &[u8]) {
        if let Some(copied) = self.copied(direction) {
            copied.take(data);
        }
    }

    fn copied(&mut self, direction: Direction) -> Option<&mut Copied> {
        match direction {
            Direction::Request => self.request.as_mut(),
            Direction::Response => self.response.as_mut(),
        }
    }

    /// What the line says.
    pub fn finish(self, passed: Passed) -> Captured {
        let look = |copied: &Option<Copied>, side, whole| {
            let copied = copied.as_ref()?;
            if passed.switched_protocols {
                return Some(CapturedBody::Not(NotCaptured::SwitchedProtocols));
            }
            let fields: Vec<_> = self.fields.iter().filter(|field| field.body == side).collect();
            Some(copied.look(&fields, self.room.key.as_ref(), whole))
        };
        let request = look(&self.request, CapturedSide::Request, passed.request_whole);
        let response = look(&self.response, CapturedSide::Response, passed.response_whole);
        let has_digest = [&request, &response].into_iter().flatten().any(has_digest);
        let key = self.room.key.as_ref().filter(|_| has_digest).map(|key| key.id().to_owned());
        Captured { key, request, response }
    }
}

fn has_digest(body: &CapturedBody) -> bool {
    match body {
        CapturedBody::Fields { values, .. } => values.iter().any(|value| matches!(value.told, Told::Digest(_))),
        CapturedBody::Not(_) => false,
    }
}

/// A copy of one body.
struct Copied {
    bytes: Result<Vec<u8>, NotCaptured>,
    /// Of the room: what `bytes` has taken, filled or not.
    held: usize,
    room: Arc<CaptureRoom>,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copied").field("bytes", &self.bytes.as_ref().map(Vec::len)).finish_non_exhaustive()
    }
}

impl Copied {
    fn new(room: Arc<CaptureRoom>) -> Self {
        Self { bytes: Ok(Vec::new()), held: 0, room }
    }

    fn take(&mut self, data: &[u8]) {
        let Ok(bytes) = &self.bytes else { return };
        let wanted = bytes.len().saturating_add(data.len());
        if wanted > self.room.body_bytes_max {
            self.give_up(NotCaptured::TooLarge);
        } else if !self.hold(wanted) {
            self.give_up(NotCaptured::NoRoom);
        } else if let Ok(bytes) = &mut self.bytes {
            bytes.extend_from_slice(data);
        }
    }

    /// Takes room for so many bytes, where there is any. A body that comes in many pieces takes twice what it holds, so that
    /// it is not moved for each of them.
    fn hold(&mut self, wanted: usize) -> bool {
        let Ok(bytes) = &mut self.bytes else { return false };
        if wanted <= self.held {
            return true;
        }
        let ahead = self.held.saturating_mul(2).min(self.room.body_bytes_max).max(wanted);
        let Some(size) = [ahead, wanted].into_iter().find(|size| self.room.take(size.saturating_sub(self.held))) else {
            return false;
        };
        // Exactly: what is held is what is counted.
        bytes.reserve_exact(size.saturating_sub(bytes.len()));
        self.held = size;
        true
    }

    /// Lets go of what was copied.
    fn give_up(&mut self, why: NotCaptured) {
        self.bytes = Err(why);
        self.room.give_back(std::mem::take(&mut self.held));
    }

    fn look(&self, fields: &[&CapturedField], key: Option<&DigestKey>, whole: bool) -> CapturedBody {
        match &self.bytes {
            Err(why) => CapturedBody::Not(*why),
            Ok(_) if !whole => CapturedBody::Not(NotCaptured::Incomplete),
            Ok(bytes) if bytes.is_empty() => CapturedBody::Not(NotCaptured::Empty),
            Ok(bytes) => extract(bytes, fields, key),
        }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.room.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::captured_field::CaptureMode;

    fn fields() -> Arc<[CapturedField]> {
        let field = |body| CapturedField { body, field: "/amount".parse().unwrap(), mode: CaptureMode::Value };
        [field(CapturedSide::Request), field(CapturedSide::Response)].into()
    }

    fn room(body_bytes_max: usize, memory_bytes_max: usize) -> Arc<CaptureRoom> {
        let config = CaptureConfig { body_bytes_max, memory_bytes_max, key_file: None };
        Arc::new(CaptureRoom::new(&config).unwrap())
    }

    fn capture(room: &Arc<CaptureRoom>) -> Capture {
        Capture::of(&fields(), &HeaderMap::new(), room).unwrap()
    }

    const WHOLE: Passed = Passed { request_whole: true, response_whole: true, switched_protocols: false };

    fn why(body: Option<CapturedBody>) -> Option<NotCaptured> {
        match body.unwrap() {
            CapturedBody::Not(why) => Some(why),
            CapturedBody::Fields { .. } => None,
        }
    }

    #[test]
    fn pieces_of_a_body_are_one_body_wherever_it_is_cut() {
        let body = br#"{"amount":12.50,"to":{"name":"\u00e4\ud83d\ude00"}}"#;
        let room = room(64, 1 << 20);
        let mut whole = capture(&room);
        whole.take(Direction::Request, body);
        let whole = whole.finish(WHOLE).request;
        assert_eq!(why(whole.clone()), None);
        for at in 0..=body.len() {
            let mut capture = capture(&room);
            capture.take(Direction::Request, &body[..at]);
            capture.take(Direction::Request, &body[at..]);
            assert_eq!(capture.finish(WHOLE).request, whole, "cut at {at}");
        }
        let mut bytes = capture(&room);
        body.iter().for_each(|byte| bytes.take(Direction::Request, &[*byte]));
        assert_eq!(bytes.finish(WHOLE).request, whole);
        assert_eq!(room.held_bytes(), 0);
    }

    #[test]
    fn a_body_in_many_pieces_is_moved_a_few_times() {
        let room = room(4096, 1 << 20);
        let (mut capture, mut sizes) = (capture(&room), std::collections::BTreeSet::new());
        for _ in 0..4096 {
            capture.take(Direction::Request, b"1");
            sizes.insert(room.held_bytes());
        }
        assert_eq!((sizes.len(), room.held_bytes()), (13, 4096), "1, 2, 4 … and never more than a body may have");
        // Where twice as much is not there, what is needed is enough.
        let room = self::room(64, 5);
        let mut capture = self::capture(&room);
        b"12345".iter().for_each(|byte| capture.take(Direction::Request, &[*byte]));
        assert_eq!((room.held_bytes(), why(capture.finish(WHOLE).request)), (5, None));
        assert_eq!(room.held_bytes(), 0);
    }

    #[test]
    fn what_is_held_has_two_limits() {
        let room = room(8, 12);
        let mut one = capture(&room);
        one.take(Direction::Request, b"12345678");
        assert_eq!(room.held_bytes(), 8);
        one.take(Direction::Response, b"12345678");
        assert_eq!(room.held_bytes(), 8, "no room for the second");
        one.take(Direction::Response, b"1");
        let mut other = capture(&room);
        other.take(Direction::Request, b"1234");
        assert_eq!(room.held_bytes(), 12);
        one.take(Direction::Request, b"9");
        assert_eq!(room.held_bytes(), 4, "what is too large is let go at once");
        let said = one.finish(WHOLE);
        assert_eq!((why(said.request), why(said.response)), (Some(NotCaptured::TooLarge), Some(NotCaptured::NoRoom)));
        drop(other);
        assert_eq!(room.held_bytes(), 0);
    }

    #[test]
    fn what_did_not_pass_as_a_plain_whole_body_is_said_so() {
        let room = room(64, 1 << 20);
        for (coding, wanted) in [("gzip", Some(NotCaptured::Encoded)), ("Identity", None)] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, coding.parse().unwrap());
            let mut capture = Capture::of(&fields(), &headers, &room).unwrap();
            capture.take(Direction::Request, b"{}");
            assert_eq!(why(capture.finish(WHOLE).request), wanted, "{coding}");
        }
        let said = capture(&room).finish(WHOLE);
        assert_eq!(why(said.request), Some(NotCaptured::Empty));
        let mut begun = capture(&room);
        begun.take(Direction::Response, b"{}");
        let said = begun.finish(Passed { response_whole: false, ..WHOLE });
        assert_eq!(why(said.response), Some(NotCaptured::Incomplete));
        let said = capture(&room).finish(Passed { switched_protocols: true, ..WHOLE });
        assert_eq!(why(said.request), Some(NotCaptured::SwitchedProtocols));
        assert!(Capture::of(&[].into(), &HeaderMap::new(), &room).is_none());
    }
}
