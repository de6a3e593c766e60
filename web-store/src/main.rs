//! The Web Store's program.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    web_store::run(service_kit::parse_config()).await
}
