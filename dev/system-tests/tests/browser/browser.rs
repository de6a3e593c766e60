//! A real browser: headless Chromium, driven over `WebDriver`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};
use stack::{ports::free_port, process::Process};
use system_tests::{SOON, eventually};
use tempfile::TempDir;
use thirtyfour::prelude::*;
use tokio::{net::TcpStream, process::Command, runtime};

const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest screenshot, in CSS pixels.
const MAX_SCREENSHOT_HEIGHT: u64 = 1600;

/// The color scheme of the operating system.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ColorScheme {
    Light,
    Dark,
}

/// A window with one tab and an empty profile. Dropping it ends the browser.
pub(crate) struct Browser {
    pub(crate) page: WebDriver,
    port: u16,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn open() -> anyhow::Result<Self> {
        let profile = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).kill_on_drop(true);
        let log = profile.path().join("chromedriver.log");
        let driver = Process::spawn("chromedriver", &mut command, &log)
            .context("chromedriver does not start; script/install installs it")?;
        eventually(SOON, "chromedriver listens", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await?;
        let mut options = DesiredCapabilities::chrome();
        for argument in [
            "--headless",
            // The sandbox works neither as root nor in most containers. The browser opens only our pages.
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
            options.add_arg(argument)?;
        }
        options.add_arg(&format!("--user-data-dir={}", profile.path().display()))?;
        let page = WebDriver::new(format!("http://127.0.0.1:{port}"), options).await?;
        let browser = Self { page, port, _driver: driver, _profile: profile };
        browser.set_window(1280, ColorScheme::Light).await?;
        Ok(browser)
    }

    /// Sets the width of the window in CSS pixels, and the color scheme.
    pub(crate) async fn set_window(&self, width: u32, scheme: ColorScheme) -> anyhow::Result<()> {
        let height = if width < 768 { 640 } else { 800 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.send_devtools("Emulation.setDeviceMetricsOverride", size).await?;
        let scheme = match scheme {
            ColorScheme::Light => "light",
            ColorScheme::Dark => "dark",
        };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.send_devtools("Emulation.setEmulatedMedia", media).await
    }

    /// Turns off the scripts of all pages.
    pub(crate) async fn disable_javascript(&self) -> anyhow::Result<()> {
        self.send_devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await
    }

    /// Sends a command of the protocol of Chrome's developer tools.
    async fn send_devtools(&self, method: &str, parameters: Value) -> anyhow::Result<()> {
        self.page.cdp().send_raw(method, parameters).await.with_context(|| method.to_owned())?;
        Ok(())
    }

    pub(crate) async fn goto(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.page.goto(url).await?)
    }

    /// Waits for an element on this page or the next one, and returns it.
    pub(crate) async fn find(&self, css: &str) -> anyhow::Result<WebElement> {
        let find = async || self.page.find(By::Css(css)).await.ok();
        self.wait_until(&format!("{css} on the page"), find).await
    }

    /// Waits for a condition. An error has the address and the text of the page.
    async fn wait_until<T>(&self, condition: &str, check: impl AsyncFn() -> Option<T>) -> anyhow::Result<T> {
        let outcome = eventually(SOON, condition, check).await;
        let Err(error) = outcome else { return outcome };
        let shown = self.evaluate("return location.pathname + ': ' + document.body.innerText").await;
        Err(error.context(format!("the page is {}", shown.unwrap_or_default())))
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) -> anyhow::Result<()> {
        let field = self.find(css).await?;
        field.clear().await?;
        Ok(field.send_keys(text).await?)
    }

    pub(crate) async fn click(&self, css: &str) -> anyhow::Result<()> {
        also_if_navigation(self.find(css).await?.click().await)
    }

    /// Presses a key in the focused element.
    pub(crate) async fn press(&self, key: Key) -> anyhow::Result<()> {
        also_if_navigation(self.page.action_chain().send_keys(key).perform().await)
    }

    /// Types into the focused element.
    pub(crate) async fn type_text(&self, text: &str) -> anyhow::Result<()> {
        Ok(self.page.action_chain().send_keys(text).perform().await?)
    }

    /// Returns the id of the focused element.
    pub(crate) async fn focused_id(&self) -> anyhow::Result<String> {
        let id = self.evaluate("return document.activeElement.id").await?;
        Ok(id.as_str().unwrap_or_default().to_owned())
    }

    /// Returns the value of an input field.
    pub(crate) async fn value(&self, css: &str) -> anyhow::Result<String> {
        Ok(self.find(css).await?.prop("value").await?.unwrap_or_default())
    }

    /// Waits for a heading and returns its text.
    pub(crate) async fn heading(&self) -> anyhow::Result<String> {
        Ok(self.find("h1").await?.text().await?)
    }

    /// Waits for a page with this heading.
    pub(crate) async fn wait_for_heading(&self, heading: &str) -> anyhow::Result<()> {
        let condition = format!("a page with the heading {heading}");
        self.wait_until(&condition, async || self.check_heading(heading).await).await
    }

    /// Opens a page again and again until it has this heading.
    pub(crate) async fn goto_until_heading(&self, url: &str, heading: &str) -> anyhow::Result<()> {
        let has_heading = async || {
            self.goto(url).await.ok()?;
            self.check_heading(heading).await
        };
        self.wait_until(&format!("a page with the heading {heading}"), has_heading).await
    }

    async fn check_heading(&self, heading: &str) -> Option<()> {
        let h1 = self.page.find(By::Css("h1")).await.ok()?;
        (h1.text().await.ok()? == heading).then_some(())
    }

    /// Waits for the summary of problems above a form and returns its text.
    pub(crate) async fn summary(&self) -> anyhow::Result<String> {
        eventually(SOON, "a summary of problems", async || {
            self.page.find(By::Css(".summary")).await.ok()?.text().await.ok()
        })
        .await
    }

    /// Runs a script on the page and returns its result.
    pub(crate) async fn evaluate(&self, script: &str) -> anyhow::Result<Value> {
        Ok(self.page.execute(script, Vec::new()).await?.json().clone())
    }

    /// Panics if the page is wider than the window.
    pub(crate) async fn assert_no_horizontal_scrolling(&self, state: &str) -> anyhow::Result<()> {
        let script = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]";
        let widths = self.evaluate(script).await?;
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{state} scrolls horizontally: {widths}");
        Ok(())
    }

    /// Writes a picture of the page to `target/screenshots/<name>.png`.
    pub(crate) async fn screenshot(&self, name: &str) -> anyhow::Result<()> {
        let script = "return [innerWidth, innerHeight, document.documentElement.scrollHeight]";
        let size: [u64; 3] = serde_json::from_value(self.evaluate(script).await?)?;
        let [width, window_height, page_height] = size;
        let height = page_height.clamp(window_height, MAX_SCREENSHOT_HEIGHT);
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.send_devtools("Emulation.setDeviceMetricsOverride", size).await?;
        let png = self.page.screenshot_as_png().await?;
        let directory = target_directory()?.join("screenshots");
        fs::create_dir_all(&directory)?;
        Ok(fs::write(directory.join(name).with_extension("png"), png)?)
    }
}

/// Accepts an action after which the driver could not read the old page any more. The browser has performed it, and
/// the driver reports a timeout if the next page comes at that moment.
fn also_if_navigation(performed: WebDriverResult<()>) -> anyhow::Result<()> {
    match performed {
        Err(error) if error.to_string().contains("aborted by navigation") => Ok(()),
        performed => Ok(performed?),
    }
}

impl Drop for Browser {
    /// Asks the driver to end the browser, because Chromium outlives a driver that is killed.
    ///
    /// Uses a separate runtime, because the test's runtime executes this call.
    fn drop(&mut self) {
        let _ = self.page.clone().leak();
        let session = format!("http://127.0.0.1:{}/session/{}", self.port, self.page.session_id());
        let quit = async {
            let client = reqwest::Client::builder().timeout(QUIT_TIMEOUT).build()?;
            client.delete(session).send().await
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                if let Ok(runtime) = runtime::Builder::new_current_thread().enable_all().build() {
                    let _ = runtime.block_on(quit);
                }
            });
        });
    }
}

/// Returns the directory of build results. The test's own binary is in `target/<profile>/deps/`.
fn target_directory() -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    own.ancestors().nth(3).map(Path::to_owned).context("the test is not in a target directory")
}
