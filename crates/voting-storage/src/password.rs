//! The password of a store, which may be in a file whose content changes: a password that is rotated, or a token that
//! expires.
//!
//! The file is read for each new connection, and from time to time for the open ones. While the file and the server
//! disagree, as they do for a moment in every rotation, open connections stay in use, and new ones log in with the last
//! password that the server accepted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

use crate::file::read_file;
use crate::store::StoreError;

/// A file with a password.
pub struct PasswordFile {
    path: PathBuf,
    last: Mutex<Last>,
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// The last password in the file.
struct Last {
    password: SecretString,
    is_readable: bool,
}

impl PasswordFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file is unreadable, not a regular file or not UTF-8.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        let last = Mutex::new(Last { password: read(path)?, is_readable: true });
        Ok(Arc::new(Self { path: path.to_owned(), last, reading: Arc::default() }))
    }

    /// The password of the last successful read.
    pub(crate) fn last(&self) -> SecretString {
        self.lock().password.clone()
    }

    /// Reads the file again. A file that is unreadable or empty, as while it is being replaced, keeps the last password, which is
    /// empty until there was one.
    pub(crate) async fn current(&self) -> SecretString {
        // A network file system that hangs must not hold up votes.
        const LIMIT: Duration = Duration::from_millis(200);
        let read = async {
            let turn = self.reading.clone().lock_owned().await;
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                read(&path)
            });
            read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let read = timeout(LIMIT, read).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let read = read.and_then(|password| match password.expose_secret() {
            "" => Err(io::Error::other("the file is empty")),
            _ => Ok(password),
        });
        let mut last = self.lock();
        match read {
            Ok(password) => *last = Last { password, is_readable: true },
            Err(error) => {
                let had_none = last.password.expose_secret().is_empty();
                if std::mem::replace(&mut last.is_readable, false) && !had_none {
                    let file = self.path.display();
                    tracing::warn!(%file, %error, "reading the password file failed, the last password is kept");
                }
            }
        }
        last.password.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<SecretString> {
    let text = String::from_utf8(read_file(path)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    // Some editors begin a file with a byte order mark; editors and `echo` end it with a line break. Neither is part of
    // the password.
    Ok(text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).into())
}

/// How the connections of one store log in.
pub(crate) struct Logins {
    file: Option<Arc<PasswordFile>>,
    passwords: Mutex<Passwords>,
}

/// The last passwords from the file that the server judged.
#[derive(Default)]
struct Passwords {
    accepted: Option<SecretString>,
    refused: Option<SecretString>,
}

/// The password from the file that a connection has logged in with; `None` without a file.
pub(crate) type Login = Option<SecretString>;

/// Why a connection could not be made.
pub(crate) enum LoginError {
    /// The server refuses the user or the password.
    Refused(StoreError),
    Other(StoreError),
}

impl Logins {
    pub(crate) fn new(file: Option<Arc<PasswordFile>>) -> Arc<Self> {
        Arc::new(Self { file, passwords: Mutex::default() })
    }

    /// Makes a connection with the present password or, if the server refuses it, with the last one that it accepted.
    pub(crate) async fn log_in<T, F>(&self, connect: impl Fn(Login) -> F) -> Result<(T, Login), StoreError>
    where
        F: Future<Output = Result<T, LoginError>>,
    {
        let present = match &self.file {
            Some(file) => {
                let password = file.current().await;
                // Without a password a driver might log in as another user, the default one.
                if password.expose_secret().is_empty() {
                    let file = file.path.display();
                    return Err(StoreError::unavailable(format!(
                        "the password file is empty: {file}; allowed: a file with the password"
                    )));
                }
                Some(password)
            }
            None => None,
        };
        let refusal = match connect(present.clone()).await {
            Ok(connection) => {
                self.accepted(present.as_ref());
                return Ok((connection, present));
            }
            Err(LoginError::Refused(refusal)) => refusal,
            Err(LoginError::Other(error)) => return Err(error),
        };
        let Some(last) = self.lock().accepted.clone() else { return Err(refusal) };
        self.refused(present.as_ref(), &refusal);
        if !is_same(present.as_ref(), Some(&last)) {
            match connect(Some(last.clone())).await {
                Ok(connection) => return Ok((connection, Some(last))),
                Err(LoginError::Refused(_)) => {}
                Err(LoginError::Other(error)) => return Err(error),
            }
        }
        // The server has another password already, and the file will have it soon.
        Err(StoreError::unavailable(refusal))
    }

    /// The present password, if it is another one than that of this login.
    pub(crate) async fn changed(&self, login: &Login) -> Login {
        let present = self.file.as_ref()?.current().await;
        let is_other = !present.expose_secret().is_empty() && !is_same(login.as_ref(), Some(&present));
        is_other.then_some(present)
    }

    /// The server accepted this password.
    pub(crate) fn accepted(&self, password: Option<&SecretString>) {
        let mut passwords = self.lock();
        if let Some(before) = &passwords.accepted
            && !is_same(Some(before), password)
        {
            tracing::info!("logged in to the store with a new password");
        }
        *passwords = Passwords { accepted: password.cloned(), refused: None };
    }

    /// The server refused this password, though it accepted another one before.
    pub(crate) fn refused(&self, password: Option<&SecretString>, error: &StoreError) {
        let mut passwords = self.lock();
        if !is_same(passwords.refused.as_ref(), password) {
            tracing::warn!(%error, "the store refuses the password in the file, open connections are kept");
            passwords.refused = password.cloned();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Passwords> {
        self.passwords.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(|password| password.expose_secret()) == other.map(|password| password.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_unreadable_or_empty_keeps_the_last_password() {
        let path = std::env::temp_dir().join(format!("voting-password-kept-{}", std::process::id()));
        std::fs::write(&path, "\u{feff}first\r\n").unwrap();
        let file = PasswordFile::open(&path).unwrap();
        assert_eq!(file.last().expose_secret(), "first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(file.current().await.expose_secret(), "second");
        for content in [Some(""), Some("\n"), None] {
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            assert_eq!(file.current().await.expose_secret(), "second", "{content:?}");
        }
        std::fs::write(&path, "third\n").unwrap();
        assert_eq!(file.current().await.expose_secret(), "third");
        std::fs::remove_file(&path).unwrap();
        assert!(PasswordFile::open(&path).is_err());
    }
}
