//! What a person sees when there is no router to call.
#![allow(clippy::unwrap_used)]

use clap::Parser;
use remotemedia_probe::Args;
use std::net::TcpListener;

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn args(url: &str, more: &[&str]) -> Args {
    let flags = ["peer", "--connect", url, "--seconds", "1", "--video", "none"];
    Command::parse_from(flags.iter().chain(more)).args
}

#[tokio::test]
async fn nobody_at_the_port_is_told_with_address_and_remedy() {
    // A port that was free a moment ago, and whose socket is closed.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        remotemedia_probe::call(&args(&format!("http://{address}"), &[])).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains(&address.to_string()), "{text}");
    assert!(text.contains("remotemedia serve"), "{text}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    // It takes the connection into its backlog and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/ws", silent.local_addr().unwrap());
    let error = remotemedia_probe::call(&args(&url, &[])).await.unwrap_err();
    assert!(error.to_string().contains("within 2.5s"), "{error:#}");
}

#[tokio::test]
async fn a_clip_that_is_not_there_is_told_before_anyone_is_called() {
    let error = remotemedia_probe::call(&args("http://127.0.0.1:1", &["--audio", "/nowhere.wav"]))
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("/nowhere.wav"), "{error:#}");
}
