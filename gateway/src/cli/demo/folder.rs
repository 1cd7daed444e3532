//! The demo's folder: configuration, tokens of two people, and everything the gateway writes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context as _;
use forge_schemas::digest::hex;

use crate::auth::{Grant, LocalTokens, Settings};
use crate::config::Config;
use crate::{clock, ids};

/// A folder that belongs to the demo.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    exe: PathBuf,
}

/// The tokens of the people in the story.
#[derive(Debug)]
pub(super) struct People {
    /// Works with an AI client; role `writer`.
    pub(super) alice: String,
    /// Decides about held calls and looks at records; roles `approver`, `viewer`, `auditor`.
    pub(super) bob: String,
}

impl Folder {
    /// Makes the folder, or takes one that an earlier demo made, and writes the configuration.
    ///
    /// # Errors
    /// If it cannot be made or belongs to something else.
    pub(super) fn create(dir: Option<PathBuf>, exe: &Path) -> anyhow::Result<Self> {
        let dir = match dir {
            Some(dir) => dir,
            None => std::env::temp_dir().join(format!("forge-demo-{}", hex(&ids::random::<6>()?))),
        };
        let dir = std::path::absolute(&dir)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.with_context(|| format!("cannot make {}", dir.display()))?;
        let folder = Self { dir, exe: exe.to_owned() };
        let file = folder.config();
        match std::fs::read_to_string(&file) {
            Ok(text) => anyhow::ensure!(
                text.starts_with(MARK),
                "{} is not the demo's; give it a folder of its own",
                file.display()
            ),
            Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault).context(format!("cannot read {}", file.display())),
        }
        let text = configuration(exe);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(folder)
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.path("forge.toml")
    }

    /// A file of the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder itself.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// This program.
    pub(super) fn exe(&self) -> &Path {
        &self.exe
    }

    /// The gateway's log goes to a file, so that the story can be read.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(super) fn log_to_file(&self) -> anyhow::Result<()> {
        let path = self.path("gateway.log");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        // A second subscriber, in tests, is not an error.
        drop(log.with_writer(Mutex::new(file)).try_init());
        Ok(())
    }

    /// Tokens for the two people; bob's is kept in a file for the approvals command.
    ///
    /// # Errors
    /// If the token files cannot be used.
    pub(super) fn mint(&self, config: &Config) -> anyhow::Result<People> {
        let Settings::Local { dir, first } = &config.auth.settings else {
            anyhow::bail!("the demo runs in local mode");
        };
        let now = clock::system().now_ms();
        let tokens = LocalTokens::open(dir, first, now)?;
        let grant = |subject: &str, roles: &[&str]| Grant {
            subject: subject.to_owned(),
            tenant: first.tenant.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            groups: Vec::new(),
            ttl: None,
        };
        let people = People {
            alice: tokens.mint(&grant("alice", &["writer"]), now)?,
            bob: tokens.mint(&grant("bob", &["approver", "viewer", "auditor"]), now)?,
        };
        self.keep_private("bob.token", &people.bob)?;
        Ok(people)
    }

    fn keep_private(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        let file =
            OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{text}"))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The configuration, as a new user would write it.
fn configuration(exe: &Path) -> String {
    let exe = toml::Value::String(exe.to_string_lossy().into_owned());
    format!(
        r#"{MARK}
# Change it as you like and run it with: forge-gateway serve --config THIS_FILE

[listen]
mcp = "127.0.0.1:0"                # port 0: any free one
admin = "127.0.0.1:0"

[auth]
mode = "local"                     # tokens of this machine; made with: forge-gateway token mint
[auth.local]
dir = "local"
subject = "alice"
roles = ["writer"]

[policy]
bundle = "starter"                 # or a folder with .rego files

[detect]
request = "redact"                 # report | redact | block
response = "redact"

[evidence]
path = "evidence"
signing_key = {{ file = "keys/evidence.pem" }}
origin = "demo.forge.localhost"

[store]
url = "sqlite://forge.db"

[servers.demo]
command = [{exe}, "demo-server"]
"#
    )
}

const MARK: &str = "# Written by `forge-gateway demo`.";
