//! A proxy between plain sockets: its counters, its breakpoints, and its failures.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{frames::FrameSplitter, *};

/// Returns the number of frames that begin in `bytes`, which arrive in pieces of `step` bytes.
fn count_frames(protocol: Protocol, direction: Direction, bytes: &[u8], step: usize) -> usize {
    let mut frames = FrameSplitter::new(protocol, direction);
    let mut count = 0;
    for mut piece in bytes.chunks(step) {
        while !piece.is_empty() {
            count += usize::from(frames.begins_frame(piece[0]));
            piece = &piece[frames.take(piece)..];
        }
    }
    count
}

#[test]
fn frames_are_counted_for_any_size_of_pieces() {
    let amqp =
        [b"AMQP\0\0\x09\x01".as_slice(), b"\x01\0\0\0\0\0\x02ab\xce", b"\x08\0\0\0\0\0\0\xce"].concat();
    let ssl_request = b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice();
    let startup = b"\0\0\0\x0a\0\x03\0\0x\0";
    let postgres = [ssl_request, startup, b"S\0\0\0\x04", b"Q\0\0\0\x06a\0"].concat();
    let replies = [b"N".as_slice(), b"R\0\0\0\x08\0\0\0\0", b"N\0\0\0\x05\0", b"Z\0\0\0\x05I"].concat();
    let mysql = b"\x01\0\0\0\x0e\0\0\0\0\x03\0\0\x01abc".to_vec();
    for step in 1..30 {
        let count = |protocol, direction, bytes| count_frames(protocol, direction, bytes, step);
        assert_eq!(count(Protocol::Amqp, Direction::Upstream, &amqp), 2, "no heartbeat, step {step}");
        assert_eq!(count(Protocol::Postgres, Direction::Upstream, &postgres), 4, "step {step}");
        assert_eq!(count(Protocol::Postgres, Direction::Downstream, &replies), 4, "step {step}");
        assert_eq!(count(Protocol::Mysql, Direction::Downstream, &mysql), 3, "step {step}");
    }
}

/// Returns a proxy, the socket of its service, and the socket of its server.
async fn connect() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port(), Protocol::Mysql).await.unwrap();
    let service = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, service, server)
}

const PACKET: &[u8] = b"\x02\0\0\0ab";

#[tokio::test]
async fn link_stops_before_requested_frame() {
    let (proxy, mut service, mut server) = connect().await;
    let stopped = proxy.stop_before(Direction::Upstream, 3);
    service.write_all(&PACKET.repeat(4)).await.unwrap();
    stopped.await.unwrap();
    let mut received = vec![0; 2 * PACKET.len()];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(received, PACKET.repeat(2));
    proxy.cut();
    assert_eq!(server.read(&mut received).await.unwrap(), 0, "no byte of the third frame has passed");
    assert_eq!(service.read(&mut received).await.unwrap(), 0, "both connections are closed");
}

#[tokio::test]
async fn half_open_link_passes_one_direction_until_restored() {
    let (proxy, mut service, mut server) = connect().await;
    proxy.set_traffic(Direction::Upstream, Traffic::Frozen);
    service.write_all(PACKET).await.unwrap();
    server.write_all(PACKET).await.unwrap();
    let mut received = vec![0; PACKET.len()];
    service.read_exact(&mut received).await.unwrap();
    assert_eq!(server.try_read(&mut received).unwrap_err().kind(), ErrorKind::WouldBlock);
    proxy.restore();
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(
        (proxy.frames_passed(Direction::Upstream), proxy.frames_passed(Direction::Downstream)),
        (1, 1)
    );
}

#[tokio::test]
async fn cut_link_closes_connections_until_restored() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port(), Protocol::Mysql).await.unwrap();
    proxy.cut();
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap_or(0), 0);
    proxy.restore();
    let mut service = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    service.write_all(PACKET).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    server.read_exact(&mut vec![0; PACKET.len()]).await.unwrap();
}

#[tokio::test]
async fn cut_and_immediate_restore_closes_all_connections() {
    let (proxy, mut service, mut server) = connect().await;
    proxy.cut();
    proxy.restore();
    assert_eq!((service.read(&mut [0]).await.unwrap(), server.read(&mut [0]).await.unwrap()), (0, 0));
}

#[tokio::test]
async fn silent_link_closes_old_connections_and_replies_to_no_new_one() {
    let (proxy, mut service, _server) = connect().await;
    proxy.silence();
    assert_eq!(service.read(&mut [0]).await.unwrap(), 0, "the old connection is closed");
    let mut silent = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    silent.write_all(PACKET).await.unwrap();
    proxy.restore();
    assert_eq!(silent.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(proxy.frames_passed(Direction::Upstream), 0);
}

#[tokio::test]
async fn idle_connection_is_forgotten_and_stays_open() {
    let (proxy, mut service, mut server) = connect().await;
    let mut received = vec![0; PACKET.len()];
    service.write_all(PACKET).await.unwrap();
    server.read_exact(&mut received).await.unwrap();
    proxy.forget_idle(Duration::ZERO);
    // The proxy forgets the connection in a task of its own.
    while proxy.shared.idle_limit.receiver_count() > 0 {
        tokio::task::yield_now().await;
    }
    proxy.restore();
    service.write_all(PACKET).await.unwrap();
    server.write_all(PACKET).await.unwrap();
    assert_eq!(server.try_read(&mut received).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(service.try_read(&mut received).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(service);
    assert_eq!(server.read(&mut received).await.unwrap_or(0), 0, "the end of the service is passed on");
}

#[tokio::test]
async fn redirected_link_leads_to_the_other_server() {
    let (proxy, mut service, _server) = connect().await;
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.redirect(other.local_addr().unwrap().port());
    assert_eq!(service.read(&mut [0]).await.unwrap_or(0), 0, "the connection is closed");
    let mut service = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (mut server, _) = other.accept().await.unwrap();
    service.write_all(PACKET).await.unwrap();
    let mut received = vec![0; PACKET.len()];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(received, PACKET);
}
