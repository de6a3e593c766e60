//! The program `transformer`.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    transformer::run(service_kit::parse_config()).await
}
