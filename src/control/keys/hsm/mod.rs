//! Keys in a hardware module (OASIS PKCS #11 3.1, CKM_EDDSA with Ed25519): they are made there, sign there, and never leave.
//!
//! A module is a library that blocks, so each has one thread of its own, with a bounded queue before it; whoever asks waits
//! a bounded time. INVARIANT: every call of a module is made on its thread, so it may be begun anew there (`link`).
//! Must never: try a PIN again that the token refused, or block the threads that serve.

mod error;
mod link;
mod objects;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use error::HsmError;
use link::{Link, Open};

use crate::config::keys::{ObjectId, TokenPlace};
use crate::token::PublicKey;

type Call = Box<dyn FnOnce(&mut Link) + Send>;

/// The modules in use. PKCS #11 knows one state of a module per process (§5.4), so this is one table per process.
static MODULES: Mutex<BTreeMap<PathBuf, Weak<Module>>> = Mutex::new(BTreeMap::new());

/// One token. Cheap to clone; when the last clone of a module's tokens is dropped, its thread ends.
#[derive(Debug, Clone)]
pub(super) struct Token {
    place: Arc<TokenPlace>,
    module: Arc<Module>,
}

/// The thread of a module.
#[derive(Debug)]
struct Module {
    /// `None` once it is to end.
    calls: Option<mpsc::Sender<Call>>,
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Drop for Module {
    /// Waits until the thread has left the module. A process that exits while it is there runs the module's destructors
    /// under its feet, and may never end.
    fn drop(&mut self) {
        self.calls = None;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the thread's end closes the channel.
        let _over = ended.recv_timeout(Token::ANSWER_TIME_MAX);
    }
}

impl Token {
    /// How long a call may take, with its wait in the queue.
    pub(super) const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
    /// Calls that wait for one module.
    pub(super) const CALLS_WAITING_MAX: usize = 64;

    /// Nothing is opened yet: the first call does it.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn new(place: TokenPlace) -> Result<Self, HsmError> {
        Ok(Self { module: module(&place.module)?, place: Arc::new(place) })
    }

    /// How people call it.
    pub(super) fn name(&self) -> String {
        name(&self.place)
    }

    /// Every Ed25519 key with this label, by its public half.
    ///
    /// # Errors
    /// [`HsmError`].
    pub(super) async fn keys(&self, label: &str, id: Option<ObjectId>) -> Result<Vec<PublicKey>, HsmError> {
        let label = label.to_owned();
        self.ask(move |open| Ok(open.public_keys(&label, id.as_ref())?.into_iter().map(|found| found.public).collect()))
            .await
    }

    /// Makes an Ed25519 key that can't be taken out.
    ///
    /// # Errors
    /// [`HsmError`].
    pub(super) async fn make(&self, label: &str, id: Option<ObjectId>) -> Result<PublicKey, HsmError> {
        let label = label.to_owned();
        self.ask(move |open| open.make(&label, id.as_ref())).await
    }

    /// Removes both halves.
    ///
    /// # Errors
    /// [`HsmError`].
    pub(super) async fn destroy(&self, label: &str, key: &PublicKey) -> Result<(), HsmError> {
        let (label, key) = (label.to_owned(), key.clone());
        self.ask(move |open| open.destroy(&label, &key)).await
    }

    /// The Ed25519 signature of `message`.
    ///
    /// # Errors
    /// [`HsmError`].
    pub(super) async fn sign(&self, label: &str, key: &PublicKey, message: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        let (label, key) = (label.to_owned(), key.clone());
        self.ask(move |open| open.sign(&label, &key, &message)).await
    }

    /// Has `work` done on the module's thread. It is left out when nobody waits for it any more.
    async fn ask<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Open) -> Result<T, HsmError> + Send + 'static,
    ) -> Result<T, HsmError> {
        let (answer, answered) = oneshot::channel();
        let place = Arc::clone(&self.place);
        let call: Call = Box::new(move |link| {
            if !answer.is_closed() {
                // Whoever asked may have given up meanwhile: then nobody reads it.
                let _unread = answer.send(link.with(&place, &work));
            }
        });
        let calls = self.module.calls.as_ref().ok_or(HsmError::Busy)?;
        calls.try_send(call).map_err(|_| HsmError::Busy)?;
        match timeout(Self::ANSWER_TIME_MAX, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(HsmError::Late { token: self.name() }),
        }
    }
}

fn name(place: &TokenPlace) -> String {
    match (&place.label, &place.serial) {
        (Some(label), None) => format!("\"{label}\""),
        (Some(label), Some(serial)) => format!("\"{label}\" ({serial})"),
        (None, serial) => serial.clone().unwrap_or_default(),
    }
}

/// The module's thread, which is started where there is none.
fn module(path: &Path) -> Result<Arc<Module>, HsmError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path).and_then(Weak::upgrade) {
        return Ok(module);
    }
    let (calls, waiting) = mpsc::channel(Token::CALLS_WAITING_MAX);
    let (ending, ended) = std::sync::mpsc::sync_channel(0);
    let link = Link::new(path.to_owned());
    let thread = std::thread::Builder::new().name("pkcs11".to_owned());
    let serve = move || {
        serve(link, waiting);
        drop(ending);
    };
    thread.spawn(serve).map_err(HsmError::Thread)?;
    let module = Arc::new(Module { calls: Some(calls), ended: Mutex::new(ended) });
    modules.insert(path.to_owned(), Arc::downgrade(&module));
    Ok(module)
}

fn serve(mut link: Link, mut calls: mpsc::Receiver<Call>) {
    while let Some(call) = calls.blocking_recv() {
        call(&mut link);
    }
    link.forget();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::SigningKey;

    #[tokio::test]
    async fn a_module_that_hangs_is_waited_for_no_longer_than_said() {
        let module = PathBuf::from("/nonexistent/hangs.so");
        let place = TokenPlace { module, label: Some("t".to_owned()), serial: None, pin_file: "pin".into() };
        let token = Token::new(place).unwrap();
        let calls = token.module.calls.clone().unwrap();
        let (release, held) = std::sync::mpsc::sync_channel::<()>(0);
        calls.try_send(Box::new(move |_| assert!(held.recv().is_err()))).unwrap();
        let key = SigningKey::generate().unwrap().public().clone();
        let sign = async || token.sign("label", &key, b"message".to_vec()).await;
        let late = sign().await.unwrap_err();
        assert_eq!(late.to_string(), "the token \"t\" did not answer within 5 s");
        while calls.try_send(Box::new(|_| ())).is_ok() {}
        assert!(matches!(sign().await, Err(HsmError::Busy)));
        // What nobody waits for any more is left out, and the next call is answered.
        drop(release);
        drop(calls.reserve_many(Token::CALLS_WAITING_MAX).await.unwrap());
        assert!(matches!(sign().await, Err(HsmError::Module { .. })));
    }
}
