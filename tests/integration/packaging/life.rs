//! The Debian package on a clean Debian 12 with its own systemd: what tests/package does.

mod full {
    use std::process::Command;

    use crate::BACKSTOP;

    #[test]
    fn the_package_is_installed_upgraded_and_purged() {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut script = Command::new(format!("{root}/tests/package"));
        let output = script.arg(BACKSTOP).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        let is_fine = output.status.success() && said.ends_with("tests/package: fine\n");
        assert!(is_fine, "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
