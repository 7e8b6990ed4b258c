//! The headless native peer: sends coded pictures and ticks, measures what comes back.
//!
//! The way of a picture: [`source`] fills it, [`strip`] stamps number and time into it, [`send`] encodes and packetizes
//! it on a thread of its own, the connection of `remotemedia_peer` carries it; what the router returns goes from [`call`]
//! to a thread of [`receive`], which assembles, decodes and reads the strip; [`report`] tells. Sound goes the same way
//! with [`ticks`] in place of strips. [`floor`] does the same work in one process, without network and workers.
#![forbid(unsafe_code)]

pub mod args;
mod call;
pub mod codec;
pub mod floor;
pub mod picture;
pub mod processes;
pub mod receive;
pub mod report;
pub mod send;
mod signal;
pub mod sink;
pub mod source;
pub mod stats;
pub mod strip;
pub mod ticks;

pub use args::Args;

use anyhow::{Context, Result, anyhow};
use args::{AudioChoice, VideoChoice};
use call::Media;
use report::Report;
use send::{AudioPlan, VideoPlan};
use source::{Sound, Video};
use std::process::ExitCode;
use tokio::sync::mpsc;

/// Pixels of the pattern when no size is asked for.
const PATTERN: (u16, u16) = (1280, 720);
/// Used wrongly.
const WRONG: u8 = 2;

/// Runs `remotemedia peer`: makes the call and prints the report on stdout. 0 done, 1 failed, 2 used wrongly.
pub async fn run(args: Args) -> ExitCode {
    if let Err(wrong) = args.check() {
        eprintln!("error: {wrong}");
        return ExitCode::from(WRONG);
    }
    match call(&args).await {
        Ok(report) => {
            if args.json {
                println!("{}", report.json());
            } else {
                print!("{}", report.table());
            }
            match &report.error {
                Some(error) => {
                    eprintln!("error: {error}");
                    ExitCode::FAILURE
                }
                None => ExitCode::SUCCESS,
            }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Makes the call, and gives the report; Ctrl-C and SIGTERM end it early, in order.
///
/// # Errors
/// When there was no call: no server, a clip that cannot be read, an offer that was refused.
pub async fn call(args: &Args) -> Result<Report> {
    let endpoint = args.endpoint().map_err(|wrong| anyhow!(wrong))?;
    let media = {
        let args = args.clone();
        tokio::task::spawn_blocking(move || media(&args)).await.context("loading clips")??
    };
    let (stop, stopped) = mpsc::channel(1);
    let watch = tokio::spawn(async move {
        // A stop that is not heard because one is waiting already is as good as heard.
        while interrupted().await.is_ok() {
            let _ = stop.try_send(());
        }
    });
    let report = call::make(args, endpoint, media, stopped).await;
    watch.abort();
    report
}

/// Until somebody wants the end.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

fn media(args: &Args) -> Result<Media> {
    let video = match args.video_choice() {
        VideoChoice::None => None,
        VideoChoice::Pattern => {
            let (width, height) = args.size.unwrap_or(PATTERN);
            Some(Video::pattern(width, height))
        }
        VideoChoice::File(path) => Some(Video::clip(&path, args.size)?),
    };
    let video = video.map(|source| VideoPlan::new(args, source)).transpose();
    let audio = match args.audio_choice() {
        AudioChoice::None => None,
        AudioChoice::Ticks => Some(Sound::ticks()),
        AudioChoice::File(path) => Some(Sound::clip(&path)?),
    };
    Ok(Media {
        video: video.map_err(|wrong| anyhow!(wrong))?,
        audio: audio.map(|source| AudioPlan::new(args, source)),
    })
}
