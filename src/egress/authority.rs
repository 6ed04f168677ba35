//! Certificates by which the supervisor stands for the hosts to whom requests are read.
//!
//! One authority for each run or container, made at its start. Its key stays in this process, and its certificate is
//! trusted by nobody but its programs, which find it among those of the host, or of their own image. Whether a host
//! is itself is decided here, by the certificates that this host trusts.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{Datelike, Duration, Utc};
use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The protocol that is spoken inside of TLS (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// What the authority is called, and a host for which it stands: by its alternative name it is known.
const NAME: &str = "Buntime, for this run alone";
const OF_HOST: &str = "A host to which requests are read";

/// For how many days its certificates hold: no run or container is longer.
const DAYS: i64 = 3660;

/// The most hosts that have a certificate at the same time.
const MOST: usize = 1024;

/// See the module.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Of every host for which it stands.
    key: KeyPair,
    provider: Arc<CryptoProvider>,
    known: Mutex<HashMap<String, Arc<ServerConfig>>>,
    to_hosts: Arc<ClientConfig>,
    own: Pem,
    of_host: Vec<Pem>,
}

impl fmt::Debug for Authority {
    /// Without its keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// Without a certificate that this host trusts, and where no key can be made.
    pub fn new() -> io::Result<Authority> {
        let provider = Arc::new(ring::default_provider());
        let (params, key) = (
            of_authority(),
            KeyPair::generate().map_err(io::Error::other)?,
        );
        let own = params.self_signed(&key).map_err(io::Error::other)?;
        let roots = roots()?;
        let of_host = roots.iter().map(in_pem).collect();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots);
        let mut to_hosts = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(store)
            .with_no_client_auth();
        to_hosts.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Authority {
            issuer: Issuer::new(params, key),
            key: KeyPair::generate().map_err(io::Error::other)?,
            provider,
            known: Mutex::default(),
            to_hosts: Arc::new(to_hosts),
            own: in_pem(own.der()),
            of_host,
        })
    }

    /// What programs of the run trust, in PEM (RFC 7468): this authority, and those of the host.
    #[must_use]
    pub fn trusted(&self) -> String {
        self.beside(&self.of_host)
    }

    /// The same for programs with certificates of their own: `store`, in PEM, in the place of the host's. What
    /// is no certificate there is left out; where there is none, the host's are trusted.
    #[must_use]
    pub fn trusted_beside(&self, store: &[u8]) -> String {
        let read = CertificateDer::pem_slice_iter(store).filter_map(Result::ok);
        let is_one = |der: &CertificateDer<'_>| RootCertStore::empty().add(der.clone()).is_ok();
        let own: Vec<Pem> = read.filter(is_one).map(|der| in_pem(&der)).collect();
        match own.is_empty() {
            true => self.trusted(),
            false => self.beside(&own),
        }
    }

    fn beside(&self, others: &[Pem]) -> String {
        let others: String = others.iter().map(pem::encode).collect();
        pem::encode(&self.own) + &others
    }

    /// How TLS is spoken with hosts.
    pub(super) fn to_hosts(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.to_hosts)
    }

    /// How TLS is spoken with programs in the place of this host.
    ///
    /// # Errors
    /// A name for which there can be no certificate.
    pub(super) fn as_host(&self, host: &str) -> io::Result<Arc<ServerConfig>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(host) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.config_for(host)?);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    fn config_for(&self, host: &str) -> io::Result<ServerConfig> {
        let params = CertificateParams::new(vec![host.to_owned()]).map_err(io::Error::other)?;
        let mut params = dated(params);
        params.distinguished_name.push(DnType::CommonName, OF_HOST);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&self.key, &self.issuer);
        let certificate = certificate.map_err(io::Error::other)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

fn in_pem(certificate: &CertificateDer<'_>) -> Pem {
    Pem::new("CERTIFICATE", certificate.to_vec())
}

fn of_authority() -> CertificateParams {
    let mut params = dated(CertificateParams::default());
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// From yesterday on: clocks differ.
fn dated(mut params: CertificateParams) -> CertificateParams {
    let day = |days| {
        let day = Utc::now().date_naive() + Duration::days(days);
        let [month, day_of_month] = [day.month(), day.day()].map(|number| number as u8);
        date_time_ymd(day.year(), month, day_of_month)
    };
    params.not_before = day(-1);
    params.not_after = day(DAYS);
    params
}

/// The certificates that this host trusts, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn roots() -> io::Result<Vec<CertificateDer<'static>>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of this host is not trusted");
    }
    match found.certs.is_empty() {
        false => Ok(found.certs),
        true => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "this host trusts no certificate; install ca-certificates, or set SSL_CERT_FILE",
        )),
    }
}
