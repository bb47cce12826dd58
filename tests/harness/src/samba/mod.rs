//! A private Active Directory: Samba as domain controller, with its own database, certificate and address.
//!
//! To make a domain takes seconds, so that it is made once (`target/harness/samba-…`) and copied for each test.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::authority::{Authority, Certificate};
use crate::dir::TempDir;
use crate::ldif::Administrator;
use crate::ports::free_address;
use crate::process::{Process, Signal, run};
use crate::snippet::repository;
use crate::wait::wait_until;

/// A domain controller of `ad.example.test`, with the attributes and classes of Exchange that recipients have. It stops
/// when dropped; if the test is failing then, the end of its log is printed.
///
/// Its ports are fixed (389, 636, 3268, 3269), so that it listens on an address of its own in 127.0.0.0/8.
#[derive(Debug)]
pub struct SambaAd {
    process: Option<Process>,
    address: Ipv4Addr,
    authority: Authority,
    administrator: Administrator,
    dir: TempDir,
}

/// How a [`SambaAd`] is to be.
#[derive(Debug)]
pub struct SambaAdBuilder {
    strong: bool,
}

impl SambaAd {
    /// The domain's suffix.
    pub const BASE: &str = "DC=ad,DC=example,DC=test";
    /// An organizational unit for the recipients, empty at first.
    pub const STAFF: &str = "OU=Staff,DC=ad,DC=example,DC=test";
    /// A user without any special right, as a bind name.
    pub const SERVICE: &str = "svc-backstop@ad.example.test";
    /// Who may do everything, as a bind name.
    pub const ADMINISTRATOR: &str = "administrator@ad.example.test";
    /// The password of both.
    pub const PASSWORD: &str = "Secret.Passw0rd";

    /// Begins to describe an instance.
    #[must_use]
    pub fn builder() -> SambaAdBuilder {
        SambaAdBuilder { strong: false }
    }

    /// An instance as it is by default.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// `ldap://127.77.x.y`
    #[must_use]
    pub fn url(&self) -> String {
        format!("ldap://{}", self.address)
    }

    /// `ldaps://127.77.x.y`
    #[must_use]
    pub fn ldaps_url(&self) -> String {
        format!("ldaps://{}", self.address)
    }

    /// `ldap://127.77.x.y:3268`: the global catalogue.
    #[must_use]
    pub fn catalogue_url(&self) -> String {
        format!("ldap://{}:3268", self.address)
    }

    /// The authority to trust, PEM.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.authority.file()
    }

    /// A file with the password.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Adds entries. A user without a password needs `userAccountControl: 544` (546: and disabled).
    ///
    /// # Panics
    /// When Samba takes one not.
    #[track_caller]
    pub fn add(&self, ldif: &str) {
        self.administrator.apply(ldif);
    }

    /// Applies change records (RFC 2849).
    ///
    /// # Panics
    /// When Samba takes one not.
    #[track_caller]
    pub fn modify(&self, ldif: &str) {
        self.administrator.apply(ldif);
    }

    /// Removes an entry.
    ///
    /// # Panics
    /// When Samba does not.
    #[track_caller]
    pub fn delete(&self, dn: &str) {
        self.administrator.delete(dn);
    }

    /// Gives an entry the name `rdn` (`CN=New`) where it is.
    ///
    /// # Panics
    /// When Samba does not.
    #[track_caller]
    pub fn rename(&self, dn: &str, rdn: &str) {
        self.administrator.rename(dn, rdn);
    }

    /// Ends it, as an administrator does.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Kills it: clients see their connections reset.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("Samba runs");
        process.signal(Signal::KILL);
        process.wait_exit(Duration::from_secs(10));
    }

    /// Starts it at the same address with the same content, after its end if it still runs.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.process = Some(launch(self.dir.path(), &self.administrator));
    }

    /// Lets it hang: connections are taken (by the kernel) and never answered.
    ///
    /// # Panics
    /// When it was stopped.
    pub fn pause(&mut self) {
        self.process.as_mut().expect("Samba runs").signal(Signal::STOP);
    }

    /// Lets it go on after [`SambaAd::pause`].
    ///
    /// # Panics
    /// When it was stopped.
    pub fn resume(&mut self) {
        self.process.as_mut().expect("Samba runs").signal(Signal::CONT);
    }
}

impl SambaAdBuilder {
    /// Refuses a bind with a password over a connection without TLS, as today's Active Directory does.
    #[must_use]
    pub fn require_strong_auth(mut self) -> Self {
        self.strong = true;
        self
    }

    /// Starts the instance and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> SambaAd {
        let template = template();
        let dir = TempDir::new("samba");
        run(Command::new("cp").arg("-a").arg(template.join(".")).arg(dir.path()));
        let address = free_address(&PORTS);
        let authority = Authority::new();
        let certificate = authority.certify("dc1.ad.example.test", &format!("IP:{address}"));
        write_configuration(dir.path(), address, self.strong, &authority, &certificate);
        dir.write("password", SambaAd::PASSWORD);
        let administrator = administrator(address, &authority);
        let mut samba = SambaAd { process: None, address, authority, administrator, dir };
        samba.restart();
        samba
    }
}

/// A domain that has never been used, made by the first who asks.
fn template() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (include_str!("mod.rs"), include_str!("smb.conf"), include_str!("exchange.ldif")).hash(&mut hasher);
    let template = repository("target/harness").join(format!("samba-{:016x}", hasher.finish()));
    std::fs::create_dir_all(repository("target/harness")).expect("create target/harness");
    let lock = File::create(template.with_extension("lock")).expect("create the template's lock file");
    flock(&lock, FlockOperation::LockExclusive).expect("lock the template");
    if !template.exists() {
        let new = template.with_extension("new");
        let _ = std::fs::remove_dir_all(&new); // what one who was interrupted left
        std::fs::create_dir(&new).expect("create the template");
        provision(&std::fs::canonicalize(&new).expect("it was just made"));
        std::fs::rename(&new, &template).expect("rename the template");
    }
    template
}

fn provision(dir: &Path) {
    let address = free_address(&PORTS);
    let (empty, database) = (dir.join("empty.conf"), dir.join("private/sam.ldb"));
    std::fs::write(&empty, "[global]\n").expect("write a file");
    let path = |path: &Path| path.display().to_string();
    samba_tool(&[
        "domain",
        "provision",
        &format!("--configfile={}", path(&empty)),
        &format!("--targetdir={}", path(dir)),
        "--realm=AD.EXAMPLE.TEST",
        "--domain=EXAMPLE",
        "--server-role=dc",
        "--dns-backend=NONE",
        "--host-name=dc1",
        &format!("--host-ip={address}"),
        &format!("--adminpass={}", SambaAd::PASSWORD),
        &format!("--option=interfaces={address}/8"),
        "--option=bind interfaces only=yes",
    ]);
    let authority = Authority::new();
    let certificate = authority.certify("dc1.ad.example.test", &format!("IP:{address}"));
    write_configuration(dir, address, false, &authority, &certificate);
    let offline = ["-s", &path(&dir.join("smb.conf")), "-H", &path(&database)];
    let settings = ["domain", "passwordsettings", "set", "--max-pwd-age=0"];
    samba_tool(&[&settings[..], &offline].concat());
    samba_tool(&[&["user", "create", "svc-backstop", SambaAd::PASSWORD][..], &offline].concat());

    let administrator = administrator(address, &authority);
    let process = launch(dir, &administrator);
    let schema = include_str!("exchange.ldif").replace("{base}", SambaAd::BASE);
    administrator.apply(&schema.replace("{staff}", SambaAd::STAFF));
    drop(process);
}

fn samba_tool(arguments: &[&str]) {
    run(Command::new("samba-tool").args(arguments));
}

fn administrator(address: Ipv4Addr, authority: &Authority) -> Administrator {
    Administrator {
        url: format!("ldaps://{address}"),
        ca: authority.file(),
        dn: SambaAd::ADMINISTRATOR.to_owned(),
        password: SambaAd::PASSWORD.to_owned(),
    }
}

fn write_configuration(
    dir: &Path,
    address: Ipv4Addr,
    strong: bool,
    authority: &Authority,
    certificate: &Certificate,
) {
    let path = |path: &Path| path.display().to_string();
    let text = include_str!("smb.conf")
        .replace("{dir}", &path(dir))
        .replace("{ip}", &address.to_string())
        .replace("{strong}", if strong { "yes" } else { "no" })
        .replace("{ca}", &path(&authority.file()))
        .replace("{certificate}", &path(&certificate.file))
        .replace("{key}", &path(&certificate.key));
    std::fs::write(dir.join("smb.conf"), text).expect("write smb.conf");
    for sub in ["run", "cache"] {
        std::fs::create_dir_all(dir.join(sub)).expect("create a directory");
    }
}

/// Starts the server of a directory, all of it in one process, and waits until it answers.
fn launch(dir: &Path, administrator: &Administrator) -> Process {
    let mut command = Command::new("samba");
    command.arg("-s").arg(dir.join("smb.conf")).args(["-i", "-M", "single", "--debug-stdout"]);
    let mut process = Process::spawn("Samba", &mut command, &dir.join("output"), Signal::TERM);
    wait_until(Duration::from_secs(30), "Samba to start", || {
        assert!(process.exited().is_none(), "Samba ended");
        administrator.is_answered()
    });
    process
}

const PORTS: [u16; 4] = [389, 636, 3268, 3269];
