//! The Debian package on a clean Debian 12 with its own systemd, and the images of its program: what tests/package and tests/container do.

mod full {
    use std::process::Command;

    use crate::BACKSTOP;

    #[test]
    fn the_package_is_installed_upgraded_and_purged_and_the_images_run() {
        run("tests/package", &[BACKSTOP]);
        run("tests/container", &[]);
    }

    fn run(name: &str, args: &[&str]) {
        let root = env!("CARGO_MANIFEST_DIR");
        let output = Command::new(format!("{root}/{name}")).args(args).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        let is_fine = output.status.success() && said.ends_with(&format!("{name}: fine\n"));
        assert!(is_fine, "{said}{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
    }
}
