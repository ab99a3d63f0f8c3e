//! Many files of one group each.

use std::time::Duration;

use tokio::time::Instant;

use crate::Swarm;
use crate::common::content;
use crate::network::Manner;

/// Pictures, and the seconds that one receiver alone would need for them.
const PICTURES: u64 = 60;
const ALONE: Duration = Duration::from_secs(PICTURES / 10);

#[tokio::test(start_paused = true)]
async fn pictures_are_passed_on_one_by_one_and_not_all_at_the_end() {
    let mut swarm = Swarm::new(3, 6, 1);
    for n in 0..PICTURES {
        let path = swarm.common.paths[0].join(format!("picture-{n}"));
        std::fs::write(path, content(n, crate::MIB as usize)).unwrap();
    }
    (0..6).for_each(|n| swarm.start(n, Manner::Honest));
    let start = Instant::now();
    assert_eq!(*swarm.complete().await.lock().unwrap(), []);
    let took = start.elapsed();
    assert!(took < ALONE * 3 / 2, "{took:?}");
}
