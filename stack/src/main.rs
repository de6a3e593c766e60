//! TODO
use stack::*;
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let t = std::time::Instant::now();
    let d = std::path::PathBuf::from(std::env::args().nth(1).unwrap());
    let mut s = servers::Servers::start(&d, |l| console::say("stack", &format!("{l} {:?}", t.elapsed()))).await?;
    println!("{:?}", s.addresses());
    let t = std::time::Instant::now();
    for x in [true, false] { s.broker.set_memory_alarm(x).await?; println!("alarm {:?}", t.elapsed()); }
    s.postgres.process.pause();  s.postgres.process.resume();
    s.postgres.process.kill().await?; println!("{:?}", t.elapsed());
    s.postgres.restart().await?; println!("pg {:?}", t.elapsed());
    s.mysql.process.kill().await?; println!("{:?}", t.elapsed());
    s.mysql.restart().await?; println!("my {:?}", t.elapsed());
    s.broker.process.kill().await?; println!("{:?}", t.elapsed());
    s.broker.restart().await?; println!("rmq {:?}", t.elapsed());
    tokio::signal::ctrl_c().await?;
    let t = std::time::Instant::now();
    s.stop().await?;
    println!("stopped {:?}", t.elapsed());
    Ok(())
}
