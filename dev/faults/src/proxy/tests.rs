//! A proxy between plain sockets: what it counts, where it stops, and how it fails.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::messages::Messages;
use super::*;

/// The lengths of the messages that begin in `bytes`, fed in pieces of `step` bytes.
fn begun(protocol: Protocol, direction: Direction, bytes: &[u8], step: usize) -> usize {
    let mut messages = Messages::new(protocol, direction);
    let mut begun = 0;
    for mut piece in bytes.chunks(step) {
        while !piece.is_empty() {
            begun += usize::from(messages.begins(piece[0]));
            piece = &piece[messages.take(piece)..];
        }
    }
    begun
}

#[test]
fn messages_are_counted_by_their_length_headers_however_they_are_cut_up() {
    let amqp =
        [b"AMQP\0\0\x09\x01".as_slice(), b"\x01\0\0\0\0\0\x02ab\xce", b"\x08\0\0\0\0\0\0\xce"].concat();
    let ssl_request = b"\0\0\0\x08\x04\xd2\x16\x2f".as_slice();
    let startup = b"\0\0\0\x0a\0\x03\0\0x\0";
    let postgres = [ssl_request, startup, b"S\0\0\0\x04", b"Q\0\0\0\x06a\0"].concat();
    let answers = [b"N".as_slice(), b"R\0\0\0\x08\0\0\0\0", b"N\0\0\0\x05\0", b"Z\0\0\0\x05I"].concat();
    let mysql = b"\x01\0\0\0\x0e\0\0\0\0\x03\0\0\x01abc".to_vec();
    for step in 1..30 {
        assert_eq!(begun(Protocol::Amqp, Direction::ToServer, &amqp, step), 2, "no heartbeat, step {step}");
        assert_eq!(begun(Protocol::Postgres, Direction::ToServer, &postgres, step), 4, "step {step}");
        assert_eq!(begun(Protocol::Postgres, Direction::ToService, &answers, step), 4, "step {step}");
        assert_eq!(begun(Protocol::Mysql, Direction::ToService, &mysql, step), 3, "step {step}");
    }
}

/// A proxy, its near and its far end.
async fn connected() -> (Proxy, TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap().port(), Protocol::Mysql).await.unwrap();
    let near = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    let (far, _) = server.accept().await.unwrap();
    (proxy, near, far)
}

const PACKET: &[u8] = b"\x02\0\0\0ab";

#[tokio::test]
async fn a_link_stops_before_the_message_asked_for_and_what_came_before_has_passed() {
    let (proxy, mut near, mut far) = connected().await;
    let stopped = proxy.stop_before(Direction::ToServer, 3);
    near.write_all(&PACKET.repeat(4)).await.unwrap();
    stopped.await.unwrap();
    let mut passed = vec![0; 2 * PACKET.len()];
    far.read_exact(&mut passed).await.unwrap();
    assert_eq!(passed, PACKET.repeat(2));
    proxy.cut();
    assert_eq!(far.read(&mut passed).await.unwrap(), 0, "nothing of the third has passed");
    assert_eq!(near.read(&mut passed).await.unwrap(), 0, "both ends are told");
}

#[tokio::test]
async fn a_half_open_link_passes_one_direction_alone_until_it_is_healed() {
    let (proxy, mut near, mut far) = connected().await;
    proxy.set_flow(Direction::ToServer, Flow::Frozen);
    near.write_all(PACKET).await.unwrap();
    far.write_all(PACKET).await.unwrap();
    let mut passed = vec![0; PACKET.len()];
    near.read_exact(&mut passed).await.unwrap();
    assert_eq!(far.try_read(&mut passed).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    proxy.heal();
    far.read_exact(&mut passed).await.unwrap();
    assert_eq!((proxy.passed(Direction::ToServer), proxy.passed(Direction::ToService)), (1, 1));
}

#[tokio::test]
async fn a_cut_link_refuses_until_it_is_healed() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(server.local_addr().unwrap().port(), Protocol::Mysql).await.unwrap();
    proxy.cut();
    let mut refused = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(refused.read(&mut [0]).await.unwrap_or(0), 0);
    proxy.heal();
    let mut near = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    near.write_all(PACKET).await.unwrap();
    let (mut far, _) = server.accept().await.unwrap();
    far.read_exact(&mut vec![0; PACKET.len()]).await.unwrap();
}

#[tokio::test]
async fn a_cut_that_is_healed_at_once_ends_every_connection() {
    let (proxy, mut near, mut far) = connected().await;
    proxy.cut();
    proxy.heal();
    assert_eq!((near.read(&mut [0]).await.unwrap(), far.read(&mut [0]).await.unwrap()), (0, 0));
}
