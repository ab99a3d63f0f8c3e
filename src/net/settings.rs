//! Settings of QUIC, and the measured reasons for them.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use crate::protocol::relay::DATA_HEAD_LEN;

/// A peer that is not heard for this long is gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often something is sent when there is nothing to send: twice may get lost.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Guess before the first measurement: also right for the other side of a city.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Largest payload of a UDP packet over IPv4; the most that one send may hold.
pub const UDP_PAYLOAD_MAX: u16 = 65_507;
/// Payload on a path inside this computer. IPv6 has 19 bytes less room than [`UDP_PAYLOAD_MAX`].
pub const LOCAL_PAYLOAD: u16 = 65_000;
/// Payload where nothing is known about the interface: Ethernet with the larger IPv6 header.
pub const ETHERNET_PAYLOAD: u16 = 1_452;

/// Payload on the way to a peer that is, or was, connected through a relay: each packet has a head.
pub const ROUTED_PAYLOAD: u16 = ETHERNET_PAYLOAD - DATA_HEAD_LEN as u16;

/// One stream that is not read.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// All streams before a person (or a rule) agreed to take files.
const WINDOW_BEFORE_CONSENT: u32 = 1024 * 1024;
/// All streams afterwards: four times one stream, so that one paused file stalls no other.
const WINDOW_AFTER_CONSENT: u32 = 4 * STREAM_WINDOW;
/// Most that we buffer of what the peer has not acknowledged.
const SEND_WINDOW_MAX: u64 = 16 * 1024 * 1024;
/// The same as long as the network does not take so much: what waits here longer than it must makes
/// whatever comes next wait, too.
const SEND_WINDOW_MIN: u64 = 1024 * 1024;
/// So much of what may be under way is buffered: enough that the network never waits for us.
const SEND_WINDOW_RATIO: u64 = 4;

/// Control streams at once: one for each transfer from this peer.
const BIDI_MAX: u32 = 32;
/// Files at once; more cost more than they bring (20 % at 1,000).
const UNI_MAX_AFTER_CONSENT: u32 = 100;

/// Start of congestion control inside this computer, where a packet alone would fill the usual one.
const LOCAL_INITIAL_WINDOW: u64 = 2 * 1024 * 1024;

/// What is known about the way to an address before the first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// It stays inside this computer, and packets of [`LOCAL_PAYLOAD`] fit.
    Local,
    /// It leaves through an interface where UDP payloads up to this fit.
    Network(u16),
}

/// The settings of a connection over `way`.
pub(super) fn transport(way: Way) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW_BEFORE_CONSENT))
        .send_window(SEND_WINDOW_MIN)
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    match way {
        Way::Local => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(LOCAL_INITIAL_WINDOW);
            config
                .initial_mtu(LOCAL_PAYLOAD)
                .mtu_discovery_config(None)
                // One packet fills a send: batches would only have to be split again.
                .enable_segmentation_offload(false)
                .congestion_controller_factory(Arc::new(cubic));
        }
        Way::Network(payload) => {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(payload);
            let mut acks = AckFrequencyConfig::default();
            // Saves the receiver 6 % of its time at full speed.
            acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY));
            config
                .mtu_discovery_config(Some(discovery))
                .ack_frequency_config(Some(acks));
        }
    }
    Arc::new(config)
}

/// What the stream between a peer and its relay may have on its way: messages are small.
const RELAY_WINDOW: u32 = 64 * 1024;

/// The settings of a relay's connections: there may be thousands.
pub(super) fn relay_transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RELAY_WINDOW))
        .receive_window(VarInt::from_u32(RELAY_WINDOW))
        .send_window(RELAY_WINDOW.into())
        .mtu_discovery_config(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0));
    Arc::new(config)
}

/// Packets that are acknowledged together.
const ACK_EVERY: u32 = 10;

/// Lets a peer send files: somebody agreed.
pub(super) fn open_up(quic: &quinn::Connection) {
    quic.set_receive_window(VarInt::from_u32(WINDOW_AFTER_CONSENT));
    quic.set_max_concurrent_uni_streams(VarInt::from_u32(UNI_MAX_AFTER_CONSENT));
}

/// Lets a peer send what it is asked for, but no files.
pub(super) fn open_window(quic: &quinn::Connection) {
    quic.set_receive_window(VarInt::from_u32(WINDOW_AFTER_CONSENT));
}

/// Buffers as much as this connection has use for.
pub(super) fn fit_send_window(quic: &quinn::Connection) {
    quic.set_send_window(send_window(quic.stats().path.cwnd));
}

/// What is buffered where `under_way` bytes may be on their way, as congestion control has it.
fn send_window(under_way: u64) -> u64 {
    let wanted = under_way.saturating_mul(SEND_WINDOW_RATIO);
    wanted.clamp(SEND_WINDOW_MIN, SEND_WINDOW_MAX)
}

/// The last transfer that was agreed to is over. What was granted is not taken back, but not
/// renewed either.
pub(super) fn close_down(quic: &quinn::Connection) {
    quic.set_receive_window(VarInt::from_u32(WINDOW_BEFORE_CONSENT));
    quic.set_max_concurrent_uni_streams(VarInt::from_u32(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_buffered_follows_what_the_network_takes_within_limits() {
        assert_eq!(send_window(12_000), SEND_WINDOW_MIN);
        assert_eq!(send_window(1 << 20), 4 << 20);
        assert_eq!(send_window(u64::MAX), SEND_WINDOW_MAX);
    }
}
