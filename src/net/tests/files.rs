//! Transfers over QUIC and in memory.

use std::sync::Arc;

use super::*;
use crate::net::memory::{self, Faults};
use crate::protocol::groups::Hash;
use crate::protocol::sessions::ALPN_PARTS;
use crate::protocol::texts::ALPNS;

#[tokio::test]
async fn a_large_file_arrives_in_pieces_that_hash_fast() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let bytes = content(64 * GROUP_LEN);
    let size = bytes.len() as u64;
    let sent = bytes.clone();
    let send = tokio::spawn(async move {
        let writer = outbound.opener().open(&header(0, size), 0).await.unwrap();
        send_file(writer, sent, DATA_LEN_MAX).await;
        outbound
    });
    let (found, reader) = next_file(&mut inbound).await;
    assert_eq!(found, header(0, size));
    let (received, lengths) = receive_file(reader, size).await;
    assert!(received == bytes);
    assert!(lengths.iter().all(|len| *len <= DATA_LEN_MAX));
    let mean = received.len() / lengths.len();
    assert!(mean >= 32 * 1024, "mean piece of {mean} bytes");
    send.await.unwrap();
}

#[tokio::test]
async fn two_thousand_small_files_arrive_each_on_its_stream() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let send = tokio::spawn(async move {
        for index in 0..2000u32 {
            let size = u64::from(index % 5000);
            let writer = outbound
                .opener()
                .open(&header(index, size), 0)
                .await
                .unwrap();
            send_file(writer, content(size), DATA_LEN_MAX).await;
        }
        outbound
    });
    let mut seen = vec![false; 2000];
    for _ in 0..2000 {
        let (header, reader) = next_file(&mut inbound).await;
        let (received, _) = receive_file(reader, header.size).await;
        assert!(received == content(header.size));
        assert!(!std::mem::replace(&mut seen[header.index as usize], true));
    }
    send.await.unwrap();
}

#[tokio::test]
async fn files_of_awkward_sizes_survive_small_writes() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let sizes = [
        0,
        1,
        16 * 1024,
        16 * 1024 + 1,
        GROUP_LEN - 1,
        GROUP_LEN,
        GROUP_LEN + 1,
    ];
    let send = tokio::spawn(async move {
        for (index, size) in sizes.into_iter().enumerate() {
            let header = header(index as u32, size);
            let writer = outbound.opener().open(&header, 0).await.unwrap();
            send_file(writer, content(size), 1000).await;
        }
        outbound
    });
    for _ in sizes {
        let (header, reader) = next_file(&mut inbound).await;
        let (received, _) = receive_file(reader, header.size).await;
        assert!(received == content(header.size), "{} bytes", header.size);
    }
    send.await.unwrap();
}

#[tokio::test]
async fn messages_go_both_ways_in_order_and_done_ends_the_link() {
    let (mut a, mut b) = Node::two().await;
    let (mut outbound, mut inbound) = a.link(&mut b).await;
    for entries in 0..100 {
        let message = SenderMessage::EntriesEnd { entries };
        outbound.send(message).await.unwrap();
    }
    for entries in 0..100 {
        match inbound.recv().await.unwrap() {
            InboundEvent::Message(message) => {
                assert_eq!(message, SenderMessage::EntriesEnd { entries });
            }
            other => panic!("{other:?}"),
        }
    }
    inbound.send(ReceiverMessage::Complete).await.unwrap();
    let (message, ()) = tokio::join!(outbound.recv(), inbound.close(Code::Done));
    assert_eq!(message, Ok(ReceiverMessage::Complete));
    assert_eq!(outbound.recv().await, Err(LinkError::Closed(Code::Done)));
    outbound.close(Code::Done).await;
    assert!(
        !a.connector.connections().is_empty(),
        "the connection stays"
    );
}

#[tokio::test]
async fn a_link_that_is_dropped_or_closed_says_why() {
    let (mut a, mut b) = Node::two().await;
    let (mut outbound, inbound) = a.link(&mut b).await;
    drop(inbound);
    assert_eq!(
        outbound.recv().await,
        Err(LinkError::Closed(Code::Internal))
    );
    let connection = a.connect(&b).await;
    let outbound = connection.offer(head(2)).await.unwrap();
    let mut inbound = b.transfer().await;
    outbound.close(Code::Cancelled).await;
    let error = inbound.recv().await.unwrap_err();
    assert_eq!(error, LinkError::Closed(Code::Cancelled));
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn an_offence_that_the_layer_above_found_closes_the_connection() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, inbound) = a.link(&mut b).await;
    inbound.close(Code::Offence).await;
    let reason = outbound.connection().closed().await;
    assert_eq!(reason, LinkError::Closed(Code::Offence));
}

#[tokio::test]
async fn a_file_that_is_given_up_says_why_on_either_side() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let opener = outbound.opener();
    let part = || Piece::Data(content(100_000));

    let mut writer = opener.open(&header(0, GROUP_LEN), 0).await.unwrap();
    writer.write(Piece::Group(0)).await.unwrap();
    writer.write(part()).await.unwrap();
    let (_, mut reader) = next_file(&mut inbound).await;
    writer.reset(Code::Paused);
    let error = loop {
        match reader.read().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, LinkError::Closed(Code::Paused));

    let mut writer = opener.open(&header(1, GROUP_LEN), 0).await.unwrap();
    writer.write(Piece::Group(0)).await.unwrap();
    writer.write(part()).await.unwrap();
    let (_, reader) = next_file(&mut inbound).await;
    reader.stop(Code::Cancelled);
    let error = loop {
        match writer.write(part()).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error, LinkError::Closed(Code::Cancelled));

    let mut writer = opener.open(&header(2, GROUP_LEN), 0).await.unwrap();
    writer.write(Piece::Group(0)).await.unwrap();
    writer.write(part()).await.unwrap();
    let (_, mut reader) = next_file(&mut inbound).await;
    drop(writer);
    let error = loop {
        match reader.read().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, LinkError::Closed(Code::Internal), "not a short file");
}

#[tokio::test]
async fn a_file_that_is_not_read_stalls_no_other() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let opener = outbound.opener();
    let stuck = opener.open(&header(0, 64 * GROUP_LEN), 0).await.unwrap();
    let stuck = tokio::spawn(send_file(stuck, content(64 * GROUP_LEN), DATA_LEN_MAX));
    let (_, unread) = next_file(&mut inbound).await;
    let size = 20 * GROUP_LEN;
    let writer = opener.open(&header(1, size), 0).await.unwrap();
    let send = tokio::spawn(send_file(writer, content(size), DATA_LEN_MAX));
    let (_, reader) = next_file(&mut inbound).await;
    receive_file(reader, size).await;
    send.await.unwrap();
    receive_file(unread, 64 * GROUP_LEN).await;
    stuck.await.unwrap();
}

#[tokio::test]
async fn reading_can_be_interrupted_at_any_time() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let size = 3 * GROUP_LEN + 17;
    let writer = outbound.opener().open(&header(0, size), 0).await.unwrap();
    let send = tokio::spawn(send_file(writer, content(size), 5000));
    let (_, mut reader) = next_file(&mut inbound).await;
    let mut received = Vec::new();
    loop {
        tokio::select! {
            piece = reader.read() => match piece.unwrap() {
                Piece::Data(data) => received.extend_from_slice(&data),
                Piece::End(_) | Piece::Break => break,
                Piece::Group(_) | Piece::GroupEnd(_) | Piece::Elsewhere(..) => {}
            },
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(received == content(size));
    send.await.unwrap();
}

#[tokio::test]
async fn both_sides_hear_when_the_connection_is_gone() {
    let (mut a, mut b) = Node::two().await;
    let (mut outbound, mut inbound) = a.link(&mut b).await;
    let writer = outbound
        .opener()
        .open(&header(0, GROUP_LEN), 0)
        .await
        .unwrap();
    a.connector.disconnect(b.id(), Code::Done);
    assert!(matches!(outbound.recv().await, Err(LinkError::Lost(_))));
    assert_eq!(
        inbound.recv().await.unwrap_err(),
        LinkError::Closed(Code::Done)
    );
    drop(writer);
    assert!(matches!(b.arrival().await, Arrival::Disconnected(id) if id == a.id()));
}

#[tokio::test]
async fn an_offer_again_on_the_same_connection_takes_over_its_files() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut old) = a.link(&mut b).await;
    let again = outbound.connection().offer(head(1)).await.unwrap();
    let mut new = b.transfer().await;
    new.consent();
    assert_eq!(
        old.recv().await.unwrap_err(),
        LinkError::Closed(Code::UnknownTransfer)
    );
    drop(old);
    let writer = again.opener().open(&header(0, 5), 0).await.unwrap();
    send_file(writer, content(5), 5).await;
    let (_, reader) = next_file(&mut new).await;
    receive_file(reader, 5).await;
}

/// A file that is referred elsewhere as a whole.
async fn referred(inbound: &mut QuicInbound) -> (FileIndex, Hash) {
    let (header, mut reader) = next_file(inbound).await;
    let Piece::Elsewhere(0, hash) = reader.read().await.unwrap() else {
        panic!("it comes from elsewhere");
    };
    assert_eq!(reader.read().await, Ok(Piece::End(Some(hash))));
    assert!(reader.read().await.is_err());
    (header.index, hash)
}

#[tokio::test]
async fn files_that_are_referred_elsewhere_all_arrive() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let sending = outbound.opener();
    let send = tokio::spawn(async move {
        for index in 0..500u32 {
            let hash = [index as u8; 32];
            let size = 2000 + u64::from(index);
            sending.refer(&header(index, size), hash, 0).await.unwrap();
        }
    });
    let mut seen: Vec<FileIndex> = Vec::new();
    for _ in 0..500 {
        let (index, hash) = referred(&mut inbound).await;
        assert_eq!(hash, [index as u8; 32]);
        seen.push(index);
    }
    send.await.unwrap();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..500));
    // Not by a stream for each.
    let frames = inbound.connection().quic().stats().frame_rx.stream;
    assert!(frames < 250, "{frames} frames");
}

#[tokio::test]
async fn to_a_program_that_does_not_know_better_each_referred_file_goes_by_itself() {
    let (a, b) = Node::two().await;
    let endpoint = raw_endpoint();
    let old = ALPNS.iter().position(|alpn| *alpn == ALPN_PARTS).unwrap();
    let tls = a.identity.client_config_for(Some(b.id()), &ALPNS[old..]);
    let tls = tls.unwrap();
    let config = quinn::ClientConfig::new(tls.crypto);
    let connecting = endpoint.connect_with(config, b.addr(), &tls.server_name);
    let quic = connecting.unwrap().await.unwrap();
    let (raw, mut b) = (PeerConnection::new(quic, true, None), b);
    raw_greeting(raw.quic(), &a.identity).await;
    let outbound = raw.offer(head(1)).await.unwrap();
    let mut inbound = b.transfer().await;
    inbound.consent();
    for index in 0..3 {
        let opener = outbound.opener();
        opener
            .refer(&header(index, 2000), [7; 32], 0)
            .await
            .unwrap();
        assert_eq!(referred(&mut inbound).await, (index, [7; 32]));
    }
}

#[tokio::test]
async fn only_so_many_referred_files_are_given_out_until_some_are_read() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, mut inbound) = a.link(&mut b).await;
    let sending = outbound.opener();
    let send = tokio::spawn(async move {
        for index in 0..1000 {
            sending
                .refer(&header(index, 2000), [1; 32], 0)
                .await
                .unwrap();
        }
    });
    let mut unread = Vec::new();
    while unread.len() < 32 {
        unread.push(next_file(&mut inbound).await);
    }
    // Content, and what is said, does not wait for them.
    let writer = outbound.opener().open(&header(1000, 5), 0).await.unwrap();
    send_file(writer, content(5), 5).await;
    let (last, reader) = next_file(&mut inbound).await;
    assert_eq!(last.index, 1000);
    receive_file(reader, 5).await;
    unread.pop();
    let more = next_file(&mut inbound).await;
    assert!(more.0.index < 1000);
    // Whoever has read what there is waits for content elsewhere, and stands in nobody's way.
    unread.clear();
    drop(more);
    let mut read = Vec::new();
    for _ in 33..1000 {
        let (_, mut reader) = next_file(&mut inbound).await;
        for _ in 0..2 {
            reader.read().await.unwrap();
        }
        read.push(reader);
    }
    send.await.unwrap();
}

#[tokio::test]
async fn what_one_link_refers_does_not_come_over_the_next_one() {
    let (mut a, mut b) = Node::two().await;
    let (outbound, old) = a.link(&mut b).await;
    let opener = outbound.opener();
    // One batch that is on its way, and one that is not.
    for index in 0..20 {
        let file = header(index, 2000);
        opener.refer(&file, [1; 32], 0).await.unwrap();
    }
    let again = outbound.connection().offer(head(1)).await.unwrap();
    drop((outbound, old));
    assert!(opener.refer(&header(0, 2000), [1; 32], 0).await.is_err());
    let mut new = b.transfer().await;
    new.consent();
    again
        .opener()
        .refer(&header(7, 2000), [7; 32], 0)
        .await
        .unwrap();
    assert_eq!(referred(&mut new).await, (7, [7; 32]));
}

fn memory_pair(faults: Faults) -> (memory::MemoryOutbound, memory::MemoryInbound) {
    let (outbound, mut inbound) = memory::pair_with(head(1), faults);
    inbound.consent();
    (outbound, inbound)
}

#[tokio::test]
async fn the_memory_link_carries_messages_and_files_too() {
    let (mut outbound, mut inbound) = memory_pair(Faults::default());
    outbound
        .send(SenderMessage::Finish { entries: 1 })
        .await
        .unwrap();
    assert!(matches!(
        inbound.recv().await.unwrap(),
        InboundEvent::Message(SenderMessage::Finish { entries: 1 })
    ));
    let size = 3 * GROUP_LEN + 1;
    let writer = outbound.opener().open(&header(0, size), 0).await.unwrap();
    let send = tokio::spawn(send_file(writer, content(size), DATA_LEN_MAX));
    let (_, reader) = next_file(&mut inbound).await;
    receive_file(reader, size).await;
    send.await.unwrap();
    inbound.send(ReceiverMessage::Complete).await.unwrap();
    inbound.close(Code::Done).await;
    assert_eq!(outbound.recv().await, Ok(ReceiverMessage::Complete));
    assert_eq!(outbound.recv().await, Err(LinkError::Closed(Code::Done)));
}

#[tokio::test]
async fn a_cut_memory_link_fails_on_both_sides_after_exactly_so_many_bytes() {
    let (mut outbound, mut inbound) = memory_pair(Faults {
        cut_after: Some(1_500_000),
        ..Faults::default()
    });
    let opener = outbound.opener();
    let send = tokio::spawn(async move {
        let mut writer = opener.open(&header(0, 2 * GROUP_LEN), 0).await?;
        loop {
            writer.write(Piece::Group(0)).await?;
            for _ in 0..4 {
                writer
                    .write(Piece::Data(content(DATA_LEN_MAX as u64)))
                    .await?;
            }
            writer.write(Piece::GroupEnd(Some([0; 32]))).await?;
            writer.write(Piece::Group(1)).await?;
            writer.write(Piece::Data(content(GROUP_LEN))).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), LinkError>(())
    });
    let (_, mut reader) = next_file(&mut inbound).await;
    let mut received = 0;
    let error = loop {
        match reader.read().await {
            Ok(Piece::Data(data)) => received += data.len(),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let lost = LinkError::Lost("cut".into());
    assert_eq!((error, received), (lost.clone(), 1_500_000));
    assert_eq!(send.await.unwrap(), Err(lost.clone()));
    assert_eq!(outbound.recv().await, Err(lost.clone()));
    assert_eq!(inbound.recv().await.unwrap_err(), lost);
}

#[tokio::test]
async fn a_memory_link_can_damage_content_and_break_between_messages() {
    let (mut outbound, mut inbound) = memory_pair(Faults {
        flips: vec![3],
        cut_after_messages: Some(1),
        ..Faults::default()
    });
    let writer = outbound.opener().open(&header(0, 5), 0).await.unwrap();
    send_file(writer, content(5), 2).await;
    let (_, mut reader) = next_file(&mut inbound).await;
    let mut received = Vec::new();
    while let Ok(piece) = reader.read().await {
        if let Piece::Data(data) = piece {
            received.extend_from_slice(&data);
        }
    }
    assert_eq!(received, [0, 1, 2, 3 ^ 1, 4]);

    let finish = SenderMessage::Finish { entries: 1 };
    outbound.send(finish.clone()).await.unwrap();
    let lost = LinkError::Lost("cut".into());
    assert_eq!(outbound.send(finish).await, Err(lost.clone()));
    assert!(inbound.recv().await.is_ok(), "what was sent before arrives");
    assert_eq!(inbound.recv().await.unwrap_err(), lost);
}

#[tokio::test]
async fn wrong_order_is_an_offence_in_memory_as_on_quic() {
    let (outbound, mut inbound) = memory_pair(Faults::default());
    let writer = Arc::new(outbound.opener());
    let mut writer = writer.open(&header(0, 5), 0).await.unwrap();
    writer.write(Piece::Group(1)).await.unwrap();
    let (_, mut reader) = next_file(&mut inbound).await;
    assert_eq!(
        reader.read().await,
        Err(LinkError::Offence(Offence::WrongGroup))
    );
    let mut outbound = outbound;
    assert_eq!(outbound.recv().await, Err(LinkError::Closed(Code::Offence)));
}

/// Sends `len` bytes over a real path with the settings of `way`, and gives back the sender's
/// view of the path.
async fn over(way: settings::Way, len: usize) -> quinn::PathStats {
    let identity = Identity::generate().unwrap();
    let endpoint = || {
        let runtime = Arc::new(quinn::TokioRuntime);
        let udp = socket::open(Some(LOCALHOST), 0).unwrap();
        let mut server = quinn::ServerConfig::with_crypto(identity.server_config().unwrap());
        server.transport_config(settings::transport(way));
        let mut config = quinn::EndpointConfig::default();
        config
            .max_udp_payload_size(settings::UDP_PAYLOAD_MAX)
            .unwrap();
        let socket = socket::wrapped(udp).unwrap();
        quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime).unwrap()
    };
    let (from, to) = (endpoint(), endpoint());
    let tls = identity.client_config(Some(identity.id())).unwrap();
    let mut config = quinn::ClientConfig::new(tls.crypto);
    config.transport_config(settings::transport(way));
    let addr = to.local_addr().unwrap();
    let connecting = from.connect_with(config, addr, &tls.server_name).unwrap();
    let accepting = async { to.accept().await.unwrap().await.unwrap() };
    let (from, to) = tokio::join!(connecting, accepting);
    let from = from.unwrap();
    let sending = async {
        let (mut send, _recv) = from.open_bi().await.unwrap();
        send.write_all(&vec![7; len]).await.unwrap();
        send.finish().unwrap();
        send.stopped().await.unwrap();
    };
    let receiving = async {
        let (_send, mut recv) = to.accept_bi().await.unwrap();
        recv.read_to_end(len).await.unwrap()
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert!(received == vec![7; len]);
    from.stats().path
}

#[tokio::test]
async fn every_packet_size_works_and_large_ones_are_found() {
    const LEN: usize = 32 * 1024 * 1024;
    let ethernet = over(settings::Way::Network(1_452), LEN).await;
    assert_eq!(ethernet.current_mtu, 1_452);
    let jumbo = over(settings::Way::Network(8_952), LEN).await;
    assert!(jumbo.current_mtu > 8_000, "{}", jumbo.current_mtu);
    assert_eq!(jumbo.black_holes_detected, 0);
    let local = over(settings::Way::Local, LEN).await;
    assert_eq!(local.current_mtu, settings::LOCAL_PAYLOAD);
    assert_eq!(local.black_holes_detected, 0);
}
