//! A module as its thread holds it: the library, a session for each token, and how to begin anew when one was lost.
//!
//! What a module says after its device went away differs from maker to maker, and some need C_Finalize before they see it
//! again. So a call that failed for any cause but its own has the whole module begun anew, and is made once more.
//! INVARIANTS: that happens once a second at most; a PIN that was refused is not sent again while its file holds the same.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::error::{CallError, HsmError};
use super::name;
use crate::config::keys::TokenPlace;
use crate::control::keys::folder::read_private;
use crate::error_chain::error_chain;
use crate::secret::Secret;

const BEGIN_ANEW_EVERY: Duration = Duration::from_secs(1);
/// Tokens named in an error.
const NAMED_MAX: usize = 8;

/// See the module.
pub(super) struct Link {
    path: PathBuf,
    /// `None` until it is begun.
    library: Option<Pkcs11>,
    open: HashMap<Arc<TokenPlace>, Open>,
    /// The PINs that tokens refused.
    refused: HashMap<Arc<TokenPlace>, Secret<String>>,
    begun_anew: Option<Instant>,
}

/// An open token: logged in, able to sign.
pub(super) struct Open {
    pub(super) token: String,
    pub(super) session: Session,
    pub(super) library: Pkcs11,
    pub(super) slot: Slot,
    /// Handles of private keys, by key id.
    pub(super) handles: HashMap<String, cryptoki::object::ObjectHandle>,
}

impl Open {
    pub(super) fn failed(&self) -> impl Fn(Error) -> HsmError + use<> {
        failed(self.token.clone())
    }
}

fn failed(token: String) -> impl Fn(Error) -> HsmError {
    move |error| HsmError::Call { token: token.clone(), source: CallError(error) }
}

impl Link {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, library: None, open: HashMap::new(), refused: HashMap::new(), begun_anew: None }
    }

    /// Does `work` with the token; twice where the first time showed that the token had been lost.
    pub(super) fn with<T>(
        &mut self,
        place: &Arc<TokenPlace>,
        work: &impl Fn(&mut Open) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        match self.attempt(place, work) {
            Err(lost) if lost.is_loss() && self.may_begin_anew() => {
                tracing::warn!(hsm = name(place), error = %error_chain(&lost), "the PKCS #11 module is begun anew");
                self.forget();
                self.attempt(place, work)
            }
            result => result,
        }
    }

    fn attempt<T>(
        &mut self,
        place: &Arc<TokenPlace>,
        work: &impl Fn(&mut Open) -> Result<T, HsmError>,
    ) -> Result<T, HsmError> {
        if !self.open.contains_key(place) {
            let open = self.connect(place)?;
            self.open.insert(Arc::clone(place), open);
        }
        let gone = || HsmError::Answer { token: name(place), wanted: "a session" };
        work(self.open.get_mut(place).ok_or_else(gone)?)
    }

    /// Closes all sessions and the module itself.
    pub(super) fn forget(&mut self) {
        self.open.clear();
        if let Some(library) = self.library.take() {
            // A module that has lost its device may refuse this too; C_Initialize then says whether it can go on.
            let _ended = library.finalize();
        }
    }

    fn may_begin_anew(&mut self) -> bool {
        let rests = self.begun_anew.is_some_and(|at| at.elapsed() < BEGIN_ANEW_EVERY);
        if !rests {
            self.begun_anew = Some(Instant::now());
        }
        !rests
    }

    fn library(&mut self) -> Result<Pkcs11, HsmError> {
        if let Some(library) = &self.library {
            return Ok(library.clone());
        }
        let unusable = |error| HsmError::Module { module: self.path.clone(), source: CallError(error) };
        let library = load(&self.path).map_err(unusable)?;
        match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody else in this process has it open: that is as good.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unusable(error)),
        }
        self.library = Some(library.clone());
        Ok(library)
    }

    fn connect(&mut self, place: &Arc<TokenPlace>) -> Result<Open, HsmError> {
        let library = self.library()?;
        let token = name(place);
        let (slot, info) = find_slot(&library, place)?;
        let mechanisms = library.get_mechanism_list(slot).map_err(failed(token.clone()))?;
        if !mechanisms.contains(&MechanismType::EDDSA) {
            return Err(HsmError::NoMechanism { token });
        }
        let session = library.open_ro_session(slot).map_err(failed(token.clone()))?;
        self.log_in(place, &session, &info)?;
        Ok(Open { token, session, library, slot, handles: HashMap::new() })
    }

    fn log_in(&mut self, place: &Arc<TokenPlace>, session: &Session, info: &TokenInfo) -> Result<(), HsmError> {
        let token = name(place);
        let pin = read_pin(place)?;
        let wrong = || HsmError::WrongPin { token: token.clone(), path: place.pin_file.clone() };
        if self.refused.get(place) == Some(&pin) {
            return Err(wrong());
        }
        if info.user_pin_locked() {
            return Err(HsmError::PinLocked { token });
        }
        // A supervisor that starts us again and again would lock the token with a wrong PIN.
        if info.user_pin_final_try() {
            return Err(HsmError::LastTry { token });
        }
        match session.login(UserType::User, Some(&AuthPin::new(pin.expose().as_str().into()))) {
            // Sessions of one process are logged in together (§5.6.8).
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.refused.remove(place);
                Ok(())
            }
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.refused.insert(Arc::clone(place), pin);
                Err(wrong())
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(HsmError::PinLocked { token }),
            Err(error) => Err(failed(token)(error)),
        }
    }
}

/// INVARIANT: a module is never unloaded, for its threads and exit handlers may outlive every session.
fn load(path: &Path) -> Result<Pkcs11, Error> {
    static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = loaded.get(path) {
        return Ok(library.clone());
    }
    let library = Pkcs11::new(path)?;
    loaded.insert(path.to_owned(), library.clone());
    Ok(library)
}

fn read_pin(place: &TokenPlace) -> Result<Secret<String>, HsmError> {
    let no_pin = || HsmError::NoPin { path: place.pin_file.clone() };
    let text = String::from_utf8(read_private(&place.pin_file)?).map_err(|_| no_pin())?;
    let pin = text.strip_suffix('\n').unwrap_or(&text);
    if pin.is_empty() || pin.contains('\n') {
        return Err(no_pin());
    }
    Ok(Secret::new(pin.to_owned()))
}

fn find_slot(library: &Pkcs11, place: &TokenPlace) -> Result<(Slot, TokenInfo), HsmError> {
    let slots = library.get_slots_with_token().map_err(failed(name(place)))?;
    // One slot that fails must not hide the others.
    let known = slots.into_iter().filter_map(|slot| Some((slot, library.get_token_info(slot).ok()?)));
    let tokens: Vec<_> = known.filter(|(_, info)| info.token_initialized()).collect();
    let fits = |info: &TokenInfo| {
        place.label.as_ref().is_none_or(|label| info.label() == label)
            && place.serial.as_ref().is_none_or(|serial| info.serial_number() == serial)
    };
    let mut fitting = tokens.iter().filter(|(_, info)| fits(info));
    let (module, wanted) = (place.module.clone(), name(place));
    match (fitting.next(), fitting.next()) {
        (Some((slot, info)), None) => Ok((*slot, info.clone())),
        (Some(_), Some(_)) => Err(HsmError::SeveralTokens { module, wanted }),
        (None, _) => Err(HsmError::NoToken { module, wanted, there: told(&tokens) }),
    }
}

fn told(tokens: &[(Slot, TokenInfo)]) -> String {
    let one = |(_, info): &(Slot, TokenInfo)| format!("\"{}\" ({})", info.label(), info.serial_number());
    let names: Vec<_> = tokens.iter().take(NAMED_MAX).map(one).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
