//! `demo`: a story that shows what the gateway does, on a real one.
//!
//! It writes a folder of its own (configuration, tokens, keys, evidence, store), starts a gateway
//! with it in this process, and sends calls as any client would: over HTTP, with a bearer token,
//! to a tool server that runs as a child process. Every step is checked; what did not come out as
//! told ends the story with exit code 1. Nothing outside the folder is touched.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::serve::{self, Options, Running};

mod ending;
mod folder;
mod proof;
mod story;
mod voice;

#[cfg(test)]
mod tests;

use folder::Folder;
use voice::Voice;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop after the story instead of leaving the gateway running
    #[arg(long)]
    once: bool,
    /// Folder for everything the demo writes; else a fresh one in the system's temporary folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Tells the story; then serves until a signal, unless told otherwise.
///
/// # Errors
/// If the gateway cannot be started, or a step did not come out as told.
pub async fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let options = Options::of_this_process()?;
    let folder = Folder::create(args.dir, &options.exe)?;
    folder.log_to_file()?;
    let config = crate::config::load(&folder.config())?;
    let people = folder.mint(&config)?;
    let mut voice = Voice::stdout();
    let running = serve::start(config, options).await.context("the gateway does not start")?;
    let told = tell(&mut voice, &running, &folder, &people).await;
    if let Err(fault) = told {
        running.shutdown().await;
        let log = folder.path("gateway.log");
        return Err(fault.context(format!("the story broke off; see {}", log.display())));
    }
    if !args.once {
        ending::keep_running(&mut voice, &running, &folder, &people)?;
        serve::signalled().await?;
        voice.say("Stopping.")?;
    }
    running.shutdown().await;
    Ok(0)
}

async fn tell(
    voice: &mut Voice,
    running: &Running,
    folder: &Folder,
    people: &folder::People,
) -> anyhow::Result<()> {
    let mut story = story::Story::begin(voice, running, folder, people).await?;
    story.allowed().await?;
    story.denied().await?;
    story.redacted().await?;
    story.approved().await?;
    story.refused().await?;
    story.proven().await?;
    story.end().await
}
