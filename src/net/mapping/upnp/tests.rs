//! Routers that speak UPnP well and badly, and those that only say so.

mod fake;

use tokio::net::UdpSocket;
use tokio::sync::watch;

use self::fake::{CLIENT, Elsewhere, Fake, OTHER, Odd, ROUTER, Told, located, wanted};
use super::*;
use crate::net::mapping::RouterProtocol;
use crate::net::mapping::claim::Claim;
use crate::net::mapping::place::Place;
use crate::net::mapping::router::Opened;

/// More than anything takes.
const A_WHILE: Duration = Duration::from_secs(60);
const OURS: (&str, u16, u32) = ("127.0.0.1", 3485, 7200);

/// Where the ports of the router lead.
fn entries(fake: &Fake) -> Vec<(u16, String, u16, u32)> {
    let igd = fake.igd();
    let entries = igd.entries.iter();
    let entry = |(port, (client, inside, lease)): (&u16, &(String, u16, u32))| {
        (*port, client.clone(), *inside, *lease)
    };
    entries.map(entry).collect()
}

fn at(port: u16, (client, inside, lease): (&str, u16, u32)) -> (u16, String, u16, u32) {
    (port, client.to_owned(), inside, lease)
}

/// A port of the router leads to somebody else.
fn take(fake: &Fake, port: u16) -> (u16, String, u16, u32) {
    let theirs = (OTHER.to_string(), 9, 0);
    fake.igd().entries.insert(port, theirs.clone());
    (port, theirs.0, theirs.1, theirs.2)
}

async fn opened(fake: &Fake) -> Lease {
    let device = find(fake.router).await.expect("a router");
    device.open(wanted()).await.expect("a port")
}

#[tokio::test]
async fn a_port_is_opened_kept_open_and_closed() {
    for (kind, is_chunked) in [(Kind::Ip1, false), (Kind::Ip2, true), (Kind::Ppp1, true)] {
        let fake = Fake::new(kind).await;
        fake.igd().is_chunked = is_chunked;
        let mut lease = opened(&fake).await;
        assert_eq!(lease.addr, "203.0.113.7:3485".parse().unwrap());
        assert_eq!(lease.lifetime(), Some(7200));
        assert_eq!(entries(&fake), [at(3485, OURS)]);
        let open = ["GetExternalIPAddress", "AddPortMapping 3485"];
        assert_eq!(fake.asked(), [&["/root.xml"], &open[..]].concat());

        fake.igd().ips = vec!["203.0.113.8"];
        assert_eq!(lease.renew(wanted()).await, Ok(()));
        assert_eq!(lease.addr, "203.0.113.8:3485".parse().unwrap());
        assert_eq!(fake.asked(), open);

        lease.close().await;
        assert_eq!(entries(&fake), []);
    }
}

#[tokio::test]
async fn instead_of_a_port_that_is_taken_another_one_is_opened() {
    let fake = Fake::new(Kind::Ip1).await;
    take(&fake, 3485);
    let theirs = take(&fake, 50001);
    let mut lease = opened(&fake).await;
    assert_eq!(lease.addr.port(), 50002);
    fake.igd().entries.remove(&3485);
    assert_eq!(lease.renew(wanted()).await, Ok(()));
    assert_eq!(lease.addr.port(), 50002, "that is kept");
    assert_eq!(entries(&fake), [theirs, at(50002, OURS)]);
    take(&fake, 3485);

    // If that leads to somebody else in the end, there is another one again.
    take(&fake, 50002);
    take(&fake, 50003);
    assert_eq!(lease.renew(wanted()).await, Err(NoPort::NotNow));
    fake.igd().entries.remove(&50001);
    assert_eq!(lease.renew(wanted()).await, Ok(()));
    assert_eq!(lease.addr.port(), 50001);
    lease.close().await;
    assert!(
        entries(&fake)
            .iter()
            .all(|(_, client, ..)| *client == OTHER.to_string())
    );
    assert_eq!(entries(&fake).len(), 3);
}

#[tokio::test]
async fn a_port_that_is_left_for_another_one_is_closed() {
    let fake = Fake::new(Kind::Ip1).await;
    let mut lease = opened(&fake).await;
    fake.igd().kept = vec![3485];
    assert_eq!(lease.renew(wanted()).await, Ok(()));
    assert_eq!(entries(&fake), [at(50001, OURS)]);
}

#[tokio::test]
async fn a_newer_router_finds_another_port_itself() {
    let fake = Fake::new(Kind::Ip2).await;
    let theirs = take(&fake, 3485);
    let lease = opened(&fake).await;
    assert_eq!(lease.addr.port(), 3486);
    lease.close().await;
    assert_eq!(entries(&fake), [theirs]);
}

#[tokio::test]
async fn where_ports_are_opened_for_good_only_ours_is_closed_all_the_same() {
    let fake = Fake::new(Kind::Ip1).await;
    fake.igd().is_for_good_only = true;
    let theirs = take(&fake, 3485);
    let lease = opened(&fake).await;
    assert_eq!(lease.lifetime(), None);
    assert_eq!(
        entries(&fake),
        [theirs.clone(), at(50001, (OURS.0, OURS.1, 0))]
    );
    lease.close().await;
    assert_eq!(entries(&fake), [theirs]);
}

#[tokio::test]
async fn a_port_that_leads_to_somebody_else_by_now_is_not_closed() {
    let fake = Fake::new(Kind::Ip1).await;
    let lease = opened(&fake).await;
    let theirs = take(&fake, 3485);
    lease.close().await;
    assert_eq!(entries(&fake), [theirs]);
}

#[tokio::test]
async fn a_router_without_an_address_for_everybody_is_asked_for_no_port() {
    for ip in [
        "192.168.0.2",
        "100.64.0.2",
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
    ] {
        let fake = Fake::new(Kind::Ip1).await;
        fake.igd().ips = vec![ip];
        let device = find(fake.router).await.unwrap();
        // On loopback this computer is where the router is.
        let why = device.open(wanted()).await.map(|lease| lease.addr);
        assert_eq!(why, Err(NoPort::NoAddress), "{ip}");
        assert_eq!(fake.asked(), ["/root.xml", "GetExternalIPAddress"]);
    }
    // Nor is one that loses it.
    let fake = Fake::new(Kind::Ip1).await;
    let mut lease = opened(&fake).await;
    fake.igd().ips = vec!["10.0.0.2"];
    assert_eq!(lease.renew(wanted()).await, Err(NoPort::NoAddress));
}

#[tokio::test]
async fn of_two_ways_into_the_internet_the_one_with_an_address_counts() {
    let fake = Fake::new(Kind::Ip1).await;
    {
        let mut igd = fake.igd();
        igd.kinds = vec![Kind::Ip1, Kind::Ppp1];
        igd.ips = vec!["0.0.0.0", "203.0.113.7"];
    }
    let lease = opened(&fake).await;
    assert_eq!(lease.control.service.kind, Kind::Ppp1);
    assert_eq!(entries(&fake), [at(3485, OURS)]);
}

#[tokio::test]
async fn nobody_but_the_router_is_believed_or_asked() {
    let fake = Fake::new(Kind::Ip1).await;
    let elsewhere = Elsewhere::new();
    let told = |from, location: &str| Told {
        from,
        packet: located(location),
    };
    fake.igd().told = vec![
        told(OTHER, "http://127.0.0.2:{http}/lie.xml"),
        told(OTHER, &elsewhere.url()),
        told(ROUTER, &elsewhere.url()),
        told(ROUTER, "http://router:{http}/lie.xml"),
    ];
    opened(&fake).await;
    assert_eq!(fake.asked()[0], "/root.xml", "the first that is asked for");
    assert!(elsewhere.is_left_alone());
}

/// The router leads to a bad place before it leads to the good one.
async fn after_a_bad_place(odd: Odd) -> Fake {
    let fake = Fake::new(Kind::Ip1).await;
    {
        let mut igd = fake.igd();
        igd.odd.insert("/bad.xml", odd);
        igd.told = vec![Told {
            from: ROUTER,
            packet: located("http://127.0.0.2:{http}/bad.xml"),
        }];
    }
    opened(&fake).await;
    assert_eq!(fake.asked()[..2], ["/bad.xml", "/root.xml"]);
    fake
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let elsewhere = Elsewhere::new();
    let head = format!("Location: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url());
    after_a_bad_place(Odd::Say(format!("HTTP/1.1 302 Found\r\n{head}"))).await;

    let fake = Fake::new(Kind::Ip1).await;
    let moved = format!("HTTP/1.1 307 Temporary Redirect\r\n{head}");
    fake.igd().odd.insert("AddPortMapping", Odd::Say(moved));
    let device = find(fake.router).await.unwrap();
    let why = device.open(wanted()).await.map(|lease| lease.addr);
    assert_eq!(why, Err(NoPort::NotNow));
    assert_eq!(entries(&fake), [], "what was done all the same is undone");
    assert!(elsewhere.is_left_alone());
}

#[tokio::test]
async fn a_description_without_end_is_left() {
    for head in [
        "",
        "Content-Length: 99999999999\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let size = if head.contains("chunked") {
            "fffffff\r\n"
        } else {
            ""
        };
        let begin = format!("HTTP/1.1 200 OK\r\n{head}\r\n{size}");
        let fake = after_a_bad_place(Odd::Endless(begin)).await;
        // And what the system takes for us.
        let taken = fake.igd().taken;
        assert!(taken < 16_000_000, "{taken}");
    }
    // Nor does a head need an end.
    after_a_bad_place(Odd::Endless("HTTP/1.1 200 OK\r\nX: ".into())).await;
}

#[tokio::test]
async fn what_makes_no_sense_leads_nowhere() {
    for text in [
        "",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n<root><device>",
        "HTTP/1.1 200 OK\r\n\r\n<html>&nbsp;</html>",
        "HTTP/1.1 200 OK\r\n\r\n\0\u{1}\u{feff}]]>",
        "220 mail.example ESMTP\r\n",
    ] {
        after_a_bad_place(Odd::Say(text.into())).await;
        let fake = Fake::new(Kind::Ip1).await;
        let device = find(fake.router).await.unwrap();
        for order in ["AddPortMapping", "GetExternalIPAddress"] {
            fake.igd().odd.insert(order, Odd::Say(text.into()));
            let why = device.open(wanted()).await.map(|lease| lease.addr);
            assert_eq!(why, Err(NoPort::NotNow), "{text:?}");
            assert_eq!(entries(&fake), [], "what was done all the same is undone");
        }
    }
}

#[tokio::test]
async fn a_page_that_is_not_there_describes_nothing() {
    let service = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1\
                   </serviceType><controlURL>/lie</controlURL></service>";
    let page = format!("HTTP/1.1 404 Not Found\r\n\r\n{service}");
    after_a_bad_place(Odd::Say(page)).await;
}

#[tokio::test]
async fn a_router_that_talks_and_talks_is_left() {
    let elsewhere = Elsewhere::new();
    let far = vec![located(&elsewhere.url()); 40];
    let bad = (0..10).map(|n| located(&format!("http://127.0.0.2:{{http}}/{n}.xml")));
    for (packets, asked) in [(far, 0), (bad.collect(), 4)] {
        let fake = Fake::new(Kind::Ip1).await;
        let told = |packet| Told {
            from: ROUTER,
            packet,
        };
        fake.igd().told = packets.into_iter().map(told).collect();
        let found = timeout(A_WHILE, find(fake.router)).await;
        assert!(found.expect("it has an end").is_none());
        assert_eq!(fake.asked().len(), asked);
    }
}

#[tokio::test]
async fn places_that_say_nothing_leave_time_for_a_better_one() {
    let fake = Fake::new(Kind::Ip1).await;
    {
        let mut igd = fake.igd();
        for path in ["/one.xml", "/two.xml"] {
            igd.odd.insert(path, Odd::Hang);
            igd.told.push(Told {
                from: ROUTER,
                packet: located(&format!("http://127.0.0.2:{{http}}{path}")),
            });
        }
    }
    opened(&fake).await;
    assert_eq!(fake.asked()[..3], ["/one.xml", "/two.xml", "/root.xml"]);
}

#[tokio::test]
async fn a_port_that_may_have_been_opened_without_an_answer_is_closed() {
    let fake = Fake::new(Kind::Ip1).await;
    fake.igd().odd.insert("AddPortMapping", Odd::Hang);
    let device = find(fake.router).await.unwrap();
    let open = timeout(A_WHILE, device.open(wanted())).await;
    let why = open.expect("it has an end").map(|lease| lease.addr);
    assert_eq!(why, Err(NoPort::NotNow));
    assert_eq!(
        fake.asked()[1..],
        [
            "GetExternalIPAddress",
            "AddPortMapping 3485",
            "GetSpecificPortMappingEntry 3485",
            "DeletePortMapping 3485",
        ]
    );
    assert_eq!(entries(&fake), []);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_answers_it_is_given_up() {
    let silent = Router::new(ROUTER, CLIENT);
    let found = timeout(A_WHILE, find(silent)).await;
    assert!(found.expect("it has an end").is_none());
}

#[tokio::test]
async fn a_router_that_takes_orders_elsewhere_after_a_start_is_found_again() {
    let fake = Fake::new(Kind::Ip1).await;
    let mut lease = opened(&fake).await;
    {
        let mut igd = fake.igd();
        igd.control = "/new";
        igd.entries.clear();
    }
    assert_eq!(lease.renew(wanted()).await, Ok(()));
    assert_eq!(lease.control.service.control.path, "/new/0");
    assert_eq!(entries(&fake), [at(3485, OURS)]);
}

/// A question by PCP, asking for how long, and the answer that it is done (RFC 6887, section 11).
async fn pcp_question(socket: &UdpSocket) -> (u32, Vec<u8>, SocketAddr) {
    let mut packet = [0; 1100];
    let (len, from) = socket.recv_from(&mut packet).await.unwrap();
    let mut answer = packet[..len].to_vec();
    assert_eq!((len, answer[..2].to_vec()), (60, vec![2, 1]));
    let lifetime = u32::from_be_bytes(answer[4..8].try_into().unwrap());
    answer[1] |= 0x80;
    answer[8..24].fill(0);
    answer[44..60].copy_from_slice(&Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets());
    (lifetime, answer, from)
}

#[tokio::test]
async fn what_is_opened_in_another_way_too_late_is_closed() {
    let pcp = UdpSocket::bind((ROUTER, crab_nat::GATEWAY_PORT))
        .await
        .unwrap();
    let fake = Fake::new(Kind::Ip1).await;
    let place = Place {
        gateway: ROUTER,
        client: CLIENT,
        port: wanted().inside,
    };
    let claim = Claim::new(&[7; 32], ROUTER);
    let opening = watch::Sender::new(false);
    let opened = Opened::ask_at(place, claim, fake.router, &opening).await;
    let mut opened = opened.expect("a port, though the first question has no answer");
    assert_eq!(opened.protocol(), RouterProtocol::Upnp);
    assert!(*opening.borrow());
    fake.asked();

    let (lifetime, answer, from) = pcp_question(&pcp).await;
    assert_ne!(lifetime, 0);
    pcp.send_to(&answer, from).await.unwrap();
    let closed = async {
        loop {
            let (lifetime, answer, from) = pcp_question(&pcp).await;
            if lifetime == 0 {
                pcp.send_to(&answer, from).await.unwrap();
                return;
            }
        }
    };
    let both = timeout(A_WHILE, async {
        tokio::join!(opened.renew_in_time(), closed)
    })
    .await;
    assert_eq!(both, Ok((true, ())));
    // It may have been the same port for the router.
    assert_eq!(
        fake.asked(),
        ["GetExternalIPAddress", "AddPortMapping 3485"]
    );
    opened.close().await;
    assert_eq!(entries(&fake), []);
}
