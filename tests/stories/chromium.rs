//! A real browser: headless Chromium with a fake camera and microphone, driven over its DevTools socket.

use crate::router::LIMIT;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// One browser with one page.
pub struct Browser {
    child: Child,
    runtime: tokio::runtime::Runtime,
    socket: Socket,
    next: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a page.
    pub fn open(url: &str) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-dev-shm-usage",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                "--autoplay-policy=no-user-gesture-required",
                "--remote-debugging-port=0",
                "--window-size=1280,900",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is installed by scripts/setup test");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let endpoint = lines
            .find_map(|line| Some(line.unwrap().strip_prefix("DevTools listening on ")?.to_owned()))
            .expect("chromium tells its DevTools address");
        // It goes on talking; a full pipe would hold it.
        std::thread::spawn(move || lines.for_each(drop));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let host = endpoint.strip_prefix("ws://").unwrap().split('/').next().unwrap().to_owned();
        let socket = runtime.block_on(async {
            let page = page_socket(&host).await;
            tokio_tungstenite::connect_async(page).await.unwrap().0
        });
        let mut browser = Self { child, runtime, socket, next: 1, _profile: profile };
        browser.command("Page.enable", json!({}));
        browser.command("Page.navigate", json!({ "url": url }));
        browser
    }

    /// What an expression comes to in the page; promises are waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.command(
            "Runtime.evaluate",
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true, and gives the page's own figures.
    pub fn wait_until(&mut self, expression: &str) -> Value {
        let begin = Instant::now();
        loop {
            if self.evaluate(&format!("Boolean(window.remotemedia && ({expression}))")) == true {
                return self.evaluate("window.remotemedia.stats()");
            }
            let error = self.evaluate("window.remotemedia?.error ?? null");
            assert!(
                begin.elapsed() < LIMIT,
                "in the page never: {expression}; error: {error}; {}",
                self.evaluate("window.remotemedia?.stats?.()")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn command(&mut self, method: &str, params: Value) -> Value {
        let id = self.next;
        self.next += 1;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        let socket = &mut self.socket;
        self.runtime.block_on(async {
            socket.send(Message::text(text)).await.unwrap();
            let answer = tokio::time::timeout(LIMIT, async {
                while let Some(message) = socket.next().await {
                    let Message::Text(text) = message.unwrap() else { continue };
                    let value: Value = serde_json::from_str(&text).unwrap();
                    if value["id"] == id {
                        return value["result"].clone();
                    }
                }
                panic!("chromium closed its socket")
            });
            answer.await.unwrap_or_else(|_| panic!("chromium does not answer {method}"))
        })
    }
}

async fn page_socket(host: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET /json/list HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Chromium keeps the connection open whatever it is asked; the length is in the header.
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        answer.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(Value::Array(pages)) = serde_json::from_str::<Value>(body)
        {
            let page = pages.iter().find(|page| page["type"] == "page").unwrap();
            return page["webSocketDebuggerUrl"].as_str().unwrap().to_owned();
        }
        assert!(read > 0, "chromium lists no pages: {text}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers end with it; nobody else's chromium is touched.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
