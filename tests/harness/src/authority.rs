//! A certificate authority of a test's own, and certificates from it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::dir::{TempDir, chmod};
use crate::process::run;

/// An authority whom nobody else trusts.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate.
    pub file: PathBuf,
    /// Its key (mode 0600).
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When openssl fails.
    #[must_use]
    pub fn new() -> Self {
        let dir = TempDir::new("authority");
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        openssl(
            dir.path(),
            &[
                &["req", "-x509", "-subj", "/CN=Authority of a test", "-days", "30"][..],
                &NEW_KEY,
                &["-addext", "basicConstraints=critical,CA:TRUE", "-addext", usage],
                &["-keyout", "ca.key", "-out", "ca.pem"],
            ],
        );
        Authority { dir }
    }

    /// The authority's certificate, PEM: what a client has to trust.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for `name` with the subject alternative names `names`, as openssl writes them:
    /// `DNS:localhost,IP:127.0.0.1`. It is good for servers and for clients.
    ///
    /// # Panics
    /// When openssl fails.
    #[must_use]
    pub fn certify(&self, name: &str, names: &str) -> Certificate {
        let (key, request, file) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n");
        self.dir.write("extensions", extensions);
        let subject = format!("/CN={name}");
        openssl(
            self.dir.path(),
            &[&["req", "-subj", &subject][..], &NEW_KEY, &["-keyout", &key, "-out", &request]],
        );
        openssl(
            self.dir.path(),
            &[
                &["x509", "-req", "-in", &request, "-out", &file, "-days", "30"][..],
                &["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions"],
            ],
        );
        let certificate = Certificate { file: self.dir.join(file), key: self.dir.join(key) };
        chmod(&certificate.key, 0o600);
        certificate
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(dir: &Path, arguments: &[&[&str]]) {
    run(Command::new("openssl").current_dir(dir).args(arguments.concat()));
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
