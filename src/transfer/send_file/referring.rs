//! Small files whose content comes from another receiver.

use tokio::sync::watch;

use super::reading::Read;
use super::{Pass, Sending, Stop};
use crate::net::link::FileOpener;
use crate::protocol::groups::group_count;
use crate::protocol::message::FileHeader;
use crate::transfer::pauses::gate;

impl Sending {
    /// Refers the file elsewhere as a whole, if it has one group and that comes from another
    /// receiver. `None` if the file needs a stream of its own.
    pub(super) async fn refer_whole<O: FileOpener>(
        &mut self,
        opener: &O,
        header: &FileHeader,
    ) -> Result<Option<Pass>, Stop> {
        let size = header.size;
        let is_one = group_count(size) == 1 && self.held.get(0).is_none();
        if !is_one || !self.is_fed(size) {
            return Ok(None);
        }
        let hash = match self.known(0) {
            Some(hash) => hash,
            None => match self.read(size, 0).await? {
                Read::Whole(_, Some(hash)) => hash,
                Read::Whole(_, None) => return Ok(None),
                Read::Short => {
                    self.refresh().await?;
                    self.distrust(header.stamp, 1);
                    return Ok(Some(Pass::Shrunk));
                }
            },
        };
        gate(&mut self.shared.pauses, self.index).await;
        if self.refresh().await? {
            self.distrust(header.stamp, 1);
            return Ok(Some(Pass::Changed));
        }
        // Reading took a while, and so may a pause have.
        if !self.is_fed(size) {
            return Ok(None);
        }
        let _referring = self.shared.progress.writing();
        tokio::select! {
            biased;
            referred = opener.refer(header, hash, self.priority) => referred?,
            // It waited while others wait to be taken: nobody is there who could give it any more.
            () = unfed(self.shared.fed.as_mut()) => return Ok(None),
        }
        self.held.set(0, Some(hash));
        Ok(Some(Pass::Complete))
    }
}

/// Waits until nobody else feeds the receiver.
async fn unfed(fed: Option<&mut watch::Receiver<bool>>) {
    match fed {
        Some(fed) => {
            // The one who says it lives as long as the link.
            let _ = fed.wait_for(|fed| !*fed).await;
        }
        None => std::future::pending().await,
    }
}
