//! A real browser: headless Chromium, driven over `WebDriver`.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use stack::ports::free_port;
use stack::process::Process;
use system_tests::{SOON, eventually};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::runtime;

/// Light or dark, as the operating system would say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scheme {
    Light,
    Dark,
}

/// A window with one tab and an empty profile. Dropped, all of it is killed.
pub(crate) struct Browser {
    pub(crate) page: WebDriver,
    port: u16,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).kill_on_drop(true);
        let log = profile.path().join("chromedriver.log");
        let driver = Process::spawn("chromedriver", &mut command, &log)
            .expect("chromedriver; script/install installs it");
        eventually(SOON, "chromedriver listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await
        .unwrap();
        let mut options = DesiredCapabilities::chrome();
        for argument in [
            "--headless",
            // Chromium cannot build its sandbox as root, nor in most containers. It sees our own pages only.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ] {
            options.add_arg(argument).unwrap();
        }
        options.add_arg(&format!("--user-data-dir={}", profile.path().display())).unwrap();
        let page = WebDriver::new(format!("http://127.0.0.1:{port}"), options).await.expect("a browser");
        let browser = Self { page, port, _driver: driver, _profile: profile };
        browser.show(1280, Scheme::Light).await;
        browser
    }

    /// Sets the window's width, in CSS pixels, and the scheme.
    pub(crate) async fn show(&self, width: u32, scheme: Scheme) {
        let height = if width < 768 { 640 } else { 800 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if matches!(scheme, Scheme::Dark) { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tell("Emulation.setEmulatedMedia", media).await;
    }

    /// From now on the browser runs no script of any page.
    pub(crate) async fn without_javascript(&self) {
        self.tell("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    }

    pub(crate) async fn tell(&self, method: &str, parameters: Value) {
        self.page.cdp().send_raw(method, parameters).await.expect(method);
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.page.goto(url).await.unwrap();
    }

    /// What is on the page, or will be when the next one is there.
    pub(crate) async fn find(&self, css: &str) -> WebElement {
        let find = async || self.page.find(By::Css(css)).await.ok();
        eventually(SOON, &format!("{css} on the page"), find).await.unwrap()
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let field = self.find(css).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub(crate) async fn click(&self, css: &str) {
        self.find(css).await.click().await.unwrap();
    }

    /// Presses a key where the focus is.
    pub(crate) async fn press(&self, key: Key) {
        self.page.action_chain().send_keys(key).perform().await.unwrap();
    }

    pub(crate) async fn type_text(&self, text: &str) {
        self.page.action_chain().send_keys(text).perform().await.unwrap();
    }

    /// The id of what has the focus.
    pub(crate) async fn focus(&self) -> String {
        self.evaluate("return document.activeElement.id").await.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn value(&self, css: &str) -> String {
        self.find(css).await.prop("value").await.unwrap().unwrap_or_default()
    }

    /// The page's heading, once there is one.
    pub(crate) async fn heading(&self) -> String {
        self.find("h1").await.text().await.unwrap()
    }

    pub(crate) async fn heading_becomes(&self, heading: &str) {
        eventually(SOON, &format!("a page with the heading {heading}"), async || {
            let h1 = self.page.find(By::Css("h1")).await.ok()?;
            (h1.text().await.ok()? == heading).then_some(())
        })
        .await
        .unwrap();
    }

    pub(crate) async fn evaluate(&self, script: &str) -> Value {
        self.page.execute(script, Vec::new()).await.expect(script).json().clone()
    }

    /// Panics if anything is wider than the window.
    pub(crate) async fn assert_no_sideways_scrolling(&self, state: &str) {
        let widths = self
            .evaluate("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            .await;
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{state} scrolls sideways: {widths}");
    }

    /// Writes `target/screenshots/<name>.png`: the whole page, however long, up to 1,600 pixels.
    pub(crate) async fn screenshot(&self, name: &str) {
        let size =
            self.evaluate("return [innerWidth, innerHeight, document.documentElement.scrollHeight]").await;
        let (width, window) = (&size[0], size[1].as_u64().unwrap());
        let height = size[2].as_u64().unwrap().clamp(window, 1600);
        let whole = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", whole).await;
        let png = self.page.screenshot_as_png().await.unwrap();
        let directory = target().join("screenshots");
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(name).with_extension("png"), png).unwrap();
    }
}

impl Drop for Browser {
    /// Chromium outlives a driver that is killed, so the driver is asked, whatever became of the test; by a
    /// runtime of its own, since the test's is busy with this very call.
    fn drop(&mut self) {
        let _ = self.page.clone().leak();
        let session = format!("http://127.0.0.1:{}/session/{}", self.port, self.page.session_id());
        thread::scope(|scope| {
            scope.spawn(|| {
                let quit = async {
                    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
                    client.unwrap().delete(session).send().await
                };
                if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                    let _ = runtime.block_on(quit);
                }
            });
        });
    }
}

/// The directory of build results: the test's own binary is in `target/<profile>/deps/`.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).map(Path::to_owned).unwrap()
}
