//! The keys in an open token: found by label and public half, made, removed, and used.

use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};

use super::error::HsmError;
use super::link::Open;
use crate::config::keys::ObjectId;
use crate::token::PublicKey;

/// CKA_EC_PARAMS of Ed25519 (PKCS #11 3.1 §6.3.5): the curve's name as a PrintableString, and its object identifier. Each
/// is all that some modules take.
const CURVE_NAME: &[u8] = b"\x13\x0cedwards25519";
const CURVE_OID: &[u8] = b"\x06\x03\x2b\x65\x70";
const ID_BYTES: usize = 16;

/// A public key object.
pub(super) struct Found {
    pub(super) public: PublicKey,
    handle: ObjectHandle,
    id: Vec<u8>,
}

impl Open {
    /// What else bears the label, such as keys of other curves, is passed over.
    pub(super) fn public_keys(&self, label: &str, id: Option<&ObjectId>) -> Result<Vec<Found>, HsmError> {
        let mut found = Vec::new();
        for handle in self.objects(ObjectClass::PUBLIC_KEY, label, id.map(|id| id.0.as_slice()))? {
            let wanted = [AttributeType::EcPoint, AttributeType::Id];
            let (mut public, mut id) = (None, Vec::new());
            for attribute in self.session.get_attributes(handle, &wanted).map_err(self.failed())? {
                match attribute {
                    Attribute::EcPoint(point) => public = ed25519(&point),
                    Attribute::Id(bytes) => id = bytes,
                    _ => {}
                }
            }
            found.extend(public.map(|public| Found { public, handle, id }));
        }
        Ok(found)
    }

    fn objects(&self, class: ObjectClass, label: &str, id: Option<&[u8]>) -> Result<Vec<ObjectHandle>, HsmError> {
        let mut template = vec![
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        template.extend(id.filter(|id| !id.is_empty()).map(|id| Attribute::Id(id.to_vec())));
        self.session.find_objects(&template).map_err(self.failed())
    }

    fn public_key(&self, label: &str, key: &PublicKey) -> Result<Found, HsmError> {
        let found = self.public_keys(label, None)?.into_iter().find(|found| found.public == *key);
        found.ok_or_else(|| self.no_key(label, key))
    }

    fn no_key(&self, label: &str, key: &PublicKey) -> HsmError {
        HsmError::NoKey { token: self.token.clone(), wanted: format!("{} labelled {label}", key.kid()) }
    }

    fn private_key(&mut self, label: &str, key: &PublicKey) -> Result<ObjectHandle, HsmError> {
        if let Some(handle) = self.handles.get(key.kid()) {
            return Ok(*handle);
        }
        let id = self.public_key(label, key)?.id;
        let handle = self.objects(ObjectClass::PRIVATE_KEY, label, Some(&id))?.into_iter().next();
        let handle = handle.ok_or_else(|| self.no_key(label, key))?;
        self.handles.insert(key.kid().to_owned(), handle);
        Ok(handle)
    }

    pub(super) fn sign(&mut self, label: &str, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        let handle = self.private_key(label, key)?;
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
        self.session.sign(&mechanism, handle, message).map_err(self.failed())
    }

    pub(super) fn make(&self, label: &str, id: Option<&ObjectId>) -> Result<PublicKey, HsmError> {
        // The one that serves can't write.
        let session = self.library.open_rw_session(self.slot).map_err(self.failed())?;
        let mut drawn = vec![0; ID_BYTES];
        aws_lc_rs::rand::fill(&mut drawn).map_err(|_| self.other_than("random bytes"))?;
        let id = id.map_or(drawn, |id| id.0.clone());
        let make = |curve: &[u8]| {
            let (public, private) = templates(label, &id, curve);
            session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private)
        };
        let (public, _) =
            make(CURVE_NAME).or_else(|first| make(CURVE_OID).map_err(|_| first)).map_err(self.failed())?;
        let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(self.failed())?;
        let point = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::EcPoint(point) => ed25519(&point),
            _ => None,
        });
        point.ok_or_else(|| self.other_than("an Ed25519 public key"))
    }

    pub(super) fn destroy(&mut self, label: &str, key: &PublicKey) -> Result<(), HsmError> {
        let public = self.public_key(label, key)?;
        let session = self.library.open_rw_session(self.slot).map_err(self.failed())?;
        let private = self.private_key(label, key)?;
        self.handles.remove(key.kid());
        session.destroy_object(private).map_err(self.failed())?;
        session.destroy_object(public.handle).map_err(self.failed())
    }

    fn other_than(&self, wanted: &'static str) -> HsmError {
        HsmError::Answer { token: self.token.clone(), wanted }
    }
}

fn templates(label: &str, id: &[u8], curve: &[u8]) -> (Vec<Attribute>, Vec<Attribute>) {
    let both = [Attribute::Token(true), Attribute::Label(label.as_bytes().to_vec()), Attribute::Id(id.to_vec())];
    let public = [Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(curve.to_vec())];
    let private =
        [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)];
    let joined = |own: &[Attribute]| [both.as_slice(), own].concat();
    (joined(&public), joined(&private))
}

/// The key of a CKA_EC_POINT: 32 bytes, as they are or in an OCTET STRING or BIT STRING (modules differ).
fn ed25519(point: &[u8]) -> Option<PublicKey> {
    let bytes = match point {
        [0x04, 0x20, bytes @ ..] | [0x03, 0x21, 0x00, bytes @ ..] if bytes.len() == 32 => bytes,
        bytes => bytes,
    };
    Some(PublicKey::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_however_it_is_wrapped() {
        let key = [7; 32];
        for point in [key.to_vec(), [&[4, 32][..], &key].concat(), [&[3, 33, 0][..], &key].concat()] {
            assert_eq!(ed25519(&point).unwrap(), PublicKey::from_bytes(key), "{point:?}");
        }
        for point in [vec![], vec![7; 31], vec![7; 33], [&[4, 57][..], &[1; 57]].concat()] {
            assert_eq!(ed25519(&point), None, "{point:?}");
        }
    }
}
