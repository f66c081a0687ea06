//! Listening sockets outlive the server that gave them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use lectern_supervisor::{Client, Keeping, kept_sockets, release_sockets};

use crate::support::*;
use crate::wire::Raw;

fn two() -> (Vec<OwnedFd>, Vec<std::net::SocketAddr>) {
    let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let addresses = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    (listeners.into_iter().map(OwnedFd::from).collect(), addresses)
}

#[tokio::test]
async fn clients_wait_for_the_next_server() {
    let (host, client) = Host::start().await;
    assert!(kept_sockets(&host.socket).await.unwrap().is_empty());
    let (sockets, addresses) = two();
    let keeping = Keeping::begin(&host.socket, &sockets).await.unwrap();
    // The server dies with all that it had.
    drop((keeping, sockets));
    let mut waits = TcpStream::connect(addresses[1]).unwrap();
    waits.write_all(b"are you there").unwrap();
    // The supervisor may become another program meanwhile.
    let program = host.dir.path().join("lectern-supervise-2");
    std::fs::copy(supervise_program(), &program).unwrap();
    Client::upgrade(&host.socket, &program).await.unwrap();
    let next = kept_sockets(&host.socket).await.unwrap();
    let next: Vec<TcpListener> = next.into_iter().map(TcpListener::from).collect();
    let told: Vec<_> = next.iter().map(|listener| listener.local_addr().unwrap()).collect();
    assert_eq!(told, addresses);
    let (mut taken, _) = next[1].accept().unwrap();
    let mut words = [0; 13];
    taken.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"are you there");

    // Its own take their place; a server that stops in order has them let go.
    let (sockets, others) = two();
    let keeping = Keeping::begin(&host.socket, &sockets).await.unwrap();
    drop(next);
    assert!(TcpStream::connect(addresses[0]).is_err(), "those before were let go");
    drop(sockets);
    TcpStream::connect(others[0]).unwrap();
    keeping.release().await.unwrap();
    assert!(TcpStream::connect(others[0]).is_err());

    let (sockets, others) = two();
    let _keeping = Keeping::begin(&host.socket, &sockets).await.unwrap();
    drop(sockets);
    release_sockets(&host.socket).await.unwrap();
    assert!(TcpStream::connect(others[0]).is_err());
    client.shutdown(LONG).await.unwrap();
    assert!(kept_sockets(&host.socket).await.unwrap().is_empty(), "nobody keeps any");
}

#[tokio::test]
async fn a_server_that_knows_of_none_does_not_share_its_clients() {
    let (host, _client) = Host::start().await;
    let (sockets, addresses) = two();
    let keeping = Keeping::begin(&host.socket, &sockets).await.unwrap();
    let mut older = Raw::connect(&host).await;
    older.send(r#"{"id":1,"do":"hello","version":2}"#).await;
    drop(sockets);
    TcpStream::connect(addresses[0]).unwrap();
    drop(keeping);
    // Now they are nobody's, and the next of its kind says so.
    wait("them to be let go", || async {
        let mut older = Raw::connect(&host).await;
        older.send(r#"{"id":1,"do":"hello","version":2}"#).await;
        TcpStream::connect(addresses[0]).is_err().then_some(())
    })
    .await;
}
