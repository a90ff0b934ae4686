//! What a machine must have for a chore, and how it is installed when missing.
//!
//! A new need is one more line in a table below. Nothing is installed silently: what, why and by which package manager
//! is said first.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};

use crate::shell::{CommandLine, find_program, root};

/// One thing a chore cannot do without.
pub(crate) struct Need {
    /// The program whose presence is looked for.
    command: &'static str,
    from: Source,
    /// Completes "`command` is missing: it …".
    why: &'static str,
}

/// Where a missing program comes from.
enum Source {
    /// Debian packages, separated by spaces.
    Debian(&'static str),
    /// A component of the Rust toolchain. Its command exists even when the component does not, so it is tried.
    Rustup(&'static str),
    /// A crate's binary at exactly this version, built into a folder of its own under `target/tools`: what else a machine
    /// has installed neither helps nor hurts.
    Crate { version: &'static str },
}

/// What the tests need beyond Rust.
pub(crate) const FOR_TESTS: &[Need] = &[
    Need { command: "cc", from: Source::Debian("gcc libc6-dev"), why: "compiles the bundled SQLite" },
    // The server itself is not on the search path in Debian; this comes with it.
    Need { command: "pg_ctlcluster", from: Source::Debian("postgresql"), why: "is PostgreSQL, which the tests start" },
];

/// What the checks need beyond what the tests need.
pub(crate) const FOR_CHECKS: &[Need] = &[
    Need { command: "git", from: Source::Debian("git"), why: "lists the files whose length is checked" },
    Need { command: "cargo-fmt", from: Source::Rustup("rustfmt"), why: "checks the format" },
    Need { command: "cargo-clippy", from: Source::Rustup("clippy"), why: "checks the code for mistakes" },
    CARGO_DENY,
];

/// What fuzzing needs.
pub(crate) const FOR_FUZZ: &[Need] = &[
    Need { command: "c++", from: Source::Debian("g++"), why: "compiles the fuzzer's runtime" },
    Need { command: "cargo-fmt", from: Source::Rustup("rustfmt"), why: "checks the format" },
    CARGO_FUZZ,
];

const CARGO_DENY: Need = Need {
    command: "cargo-deny",
    from: Source::Crate { version: "0.20.2" },
    why: "checks the crate diagram, licences and sources",
};

const CARGO_FUZZ: Need =
    Need { command: "cargo-fuzz", from: Source::Crate { version: "0.13.2" }, why: "builds the fuzz targets" };

/// Where [`FOR_FUZZ`] puts cargo-fuzz, relative to the repository's root.
pub(crate) fn cargo_fuzz() -> String {
    CARGO_FUZZ.program()
}
/// What the comparison cannot do without, beside the servers that are compared.
pub(crate) const FOR_COMPARISON: &[Need] = &[
    Need { command: "wrk", from: Source::Debian("wrk"), why: "makes the load" },
    Need { command: "taskset", from: Source::Debian("util-linux"), why: "keeps a program on one core" },
];

/// What nginx's part in the comparison needs.
pub(crate) const FOR_NGINX: &[Need] =
    &[Need { command: "nginx", from: Source::Debian("nginx"), why: "is the floor that we are compared with" }];

/// What the parts need that come from PyPI.
pub(crate) const FOR_PYTHON: &[Need] =
    &[Need { command: "python3", from: Source::Debian("python3 python3-venv"), why: "installs and runs contenders" }];

/// What the parts need that come from npm.
pub(crate) const FOR_NODE: &[Need] =
    &[Need { command: "npm", from: Source::Debian("nodejs npm"), why: "installs and runs contenders" }];

/// What counting instructions needs.
pub(crate) const FOR_INSTRUCTIONS: &[Need] =
    &[Need { command: "valgrind", from: Source::Debian("valgrind"), why: "counts instructions" }];

/// Where [`FOR_CHECKS`] puts cargo-deny, relative to the repository's root.
pub(crate) fn cargo_deny() -> String {
    CARGO_DENY.program()
}

/// Installs what is missing of `needs`.
pub(crate) fn install_missing(needs: &[Need]) -> Result<()> {
    for need in needs.iter().filter(|need| !need.is_met()) {
        need.install()?;
        if !need.is_met() {
            bail!("`{}` is still missing after its installation", need.command);
        }
    }
    Ok(())
}

impl Need {
    /// The program to run: a bare name on the search path, or a path from the repository's root.
    fn program(&self) -> String {
        match self.from {
            Source::Debian(_) | Source::Rustup(_) => self.command.to_owned(),
            Source::Crate { version } => format!("{}/bin/{}", tool_folder(self.command, version), self.command),
        }
    }

    fn is_met(&self) -> bool {
        match self.from {
            Source::Debian(_) => find_program(self.command).is_some(),
            Source::Rustup(_) => CommandLine::new(self.command, "--version").succeeds(),
            Source::Crate { .. } => root().join(self.program()).is_file(),
        }
    }

    fn install(&self) -> Result<()> {
        let Need { command, why, .. } = self;
        match self.from {
            Source::Debian(packages) => {
                let apt = apt_get().map_err(|reason| {
                    anyhow!(
                        "`{command}` is missing: it {why}. {reason}, so install it yourself (Debian's name: {packages}) \
                         and try again"
                    )
                })?;
                println!("`{command}` is missing: it {why}. Installing {packages} with apt-get.");
                if apt("update").is_err() {
                    eprintln!("apt-get update failed; trying with the package lists as they are");
                }
                apt(&format!("install --yes --no-install-recommends {packages}"))
                    .with_context(|| format!("apt-get could not install {packages}"))
            }
            Source::Rustup(component) => {
                println!("`{command}` is missing: it {why}. Installing {component} with rustup.");
                CommandLine::new("rustup", "component add").argument(component).run().with_context(|| {
                    format!("rustup could not add {component}; install it by the means by which Rust was installed")
                })
            }
            Source::Crate { version } => {
                println!("{command} {version} is missing: it {why}. Building it with cargo install: about a minute.");
                cargo_install(command, version)
                    .run()
                    .with_context(|| format!("cargo could not install {command} {version}"))
            }
        }
    }
}

/// Builds a crate's binary fast rather than to be fast: it runs for a second.
fn cargo_install(name: &str, version: &str) -> CommandLine {
    CommandLine::new("cargo", "install --locked --debug --no-default-features --force --root")
        .argument(tool_folder(name, version))
        .argument(format!("{name}@{version}"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0")
}

/// The version is in the name, so that a new pin installs anew.
fn tool_folder(name: &str, version: &str) -> String {
    format!("target/tools/{name}-{version}")
}

/// apt-get as root, through sudo if we are not root; an error if this machine or this account has no way to it.
fn apt_get() -> Result<impl Fn(&str) -> Result<()>> {
    let apt: PathBuf = find_program("apt-get").context("This machine has no apt-get")?;
    let is_root = CommandLine::new("id", "-u").read()?.trim() == "0";
    if !is_root && find_program("sudo").is_none() {
        bail!("Installing it takes root, and there is no sudo");
    }
    // sudo drops the environment, so the variable goes through `env`.
    let quiet_apt = format!("DEBIAN_FRONTEND=noninteractive {}", apt.display());
    let command = if is_root {
        CommandLine::new("env", &quiet_apt)
    } else {
        CommandLine::new("sudo", &format!("env {quiet_apt}"))
    };
    Ok(move |arguments: &str| command.clone().arguments(arguments.split_whitespace()).run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_need_says_what_it_is_for() {
        let tables =
            [FOR_TESTS, FOR_CHECKS, FOR_FUZZ, FOR_COMPARISON, FOR_NGINX, FOR_PYTHON, FOR_NODE, FOR_INSTRUCTIONS];
        for need in tables.into_iter().flatten() {
            assert!(!need.why.is_empty() && !need.why.ends_with('.'), "{}: {:?}", need.command, need.why);
        }
    }

    #[test]
    fn a_tool_is_pinned_and_kept_apart() {
        assert_eq!(cargo_deny(), "target/tools/cargo-deny-0.20.2/bin/cargo-deny");
        let typed = cargo_install("cargo-deny", "0.20.2").to_string();
        assert!(typed.contains("--locked") && typed.ends_with(" cargo-deny@0.20.2"), "{typed}");
    }

    #[test]
    fn what_is_there_is_not_installed() {
        let shell = Need { command: "sh", from: Source::Debian("no-such-package"), why: "runs this test" };
        install_missing(&[shell]).expect("sh is there");
    }
}
