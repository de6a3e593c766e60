//! A CA of a test, and the certificates that it issues with the script of the project.

use std::path::PathBuf;

use stack::command::run_tool;
use tempfile::TempDir;
use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tls/issue.sh");

/// The directory of a CA. Dropping it removes the keys.
pub(super) struct Authority(TempDir);

impl Authority {
    /// Creates a CA that has issued a certificate for the client `service`.
    pub(super) async fn new() -> anyhow::Result<Self> {
        let authority = Self(tempfile::tempdir()?);
        authority.issue("service", &[], 1).await?;
        Ok(authority)
    }

    /// Issues the certificate of a server, or replaces it. With 0 days, it expires immediately.
    pub(super) async fn issue(&self, name: &str, hosts: &[&str], days: u32) -> anyhow::Result<()> {
        let mut script = Command::new(SCRIPT);
        script.arg(self.0.path()).arg(name).args(hosts).env("CERTIFICATE_DAYS", days.to_string());
        run_tool("issue.sh", &mut script).await.map(drop)
    }

    /// Returns the path of a file, such as `ca.pem` or `service.key`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
