//! TLS for the connections that we open: whom to trust.
//!
//! Certificates are checked against the system's store, or a CA file instead. What can't be read is an error that names
//! it; nothing falls back to an unchecked connection.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

/// How a connection is secured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Trust these authorities, PEM; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// Take any certificate: the connection is secret from listeners only.
    pub accept_any: bool,
    /// Our own certificate and its key, PEM, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{}: {}", path.display(), plain(error))]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: rustls::pki_types::pem::Error,
    },
    /// A file without a certificate in it.
    #[error("{}: holds no certificate", .0.display())]
    Empty(PathBuf),
    /// The system has no usable store.
    #[error("the system's store of certificate authorities can't be read (install ca-certificates, or name a ca_file){}", .0.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
    Store(Option<io::Error>),
    /// A certificate or key that can't be used.
    #[error("{}: {error}", path.display())]
    Certificate {
        /// The file it is in.
        path: PathBuf,
        /// Why.
        error: rustls::Error,
    },
    /// The library's refusal.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// The settings for connections with these options. Reads files, so it blocks.
///
/// # Errors
/// [`TlsError`].
pub fn client_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if options.accept_any {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(roots(options.ca_file.as_deref())?)
    };
    let config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let read = PrivateKeyDer::from_pem_file(key);
            let secret = read.map_err(|error| TlsError::File { path: key.clone(), error })?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| TlsError::Certificate { path: certificate.clone(), error })?
        }
    };
    Ok(Arc::new(config))
}

/// As the system says it, where it is the system's error.
fn plain(error: &rustls::pki_types::pem::Error) -> &dyn std::fmt::Display {
    match error {
        rustls::pki_types::pem::Error::Io(error) => error,
        other => other,
    }
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = file {
        for certificate in certificates(path)? {
            let added = roots.add(certificate);
            added.map_err(|error| TlsError::Certificate { path: path.to_owned(), error })?;
        }
        return Ok(roots);
    }
    let mut found = rustls_native_certs::load_native_certs();
    // A store holds certificates that are too old to be read; the others still count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::Store(found.errors.pop().map(|error| io::Error::other(error.to_string()))));
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |error| TlsError::File { path: path.to_owned(), error };
    let found =
        CertificateDer::pem_file_iter(path).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

/// Takes whatever certificate comes, but still wants the handshake signed by its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_hold_no_authority_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let options = TlsOptions { ca_file: Some(path.clone()), ..TlsOptions::default() };
        for content in [
            None,
            Some(""),
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            Some("-----BEGIN CERTIFICATE-----\n"),
        ] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = client_config(&options).unwrap_err().to_string();
            assert!(error.contains("ca.pem"), "{content:?}: {error}");
        }
    }
}
