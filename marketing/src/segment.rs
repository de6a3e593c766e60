//! The segment of the search indexes to which new rows go.

use sqlx::MySqlConnection;

/// Rows per segment. With this size, one segment of the three indexes takes about 15 MiB, which a server
/// keeps in memory.
const MAX_ROWS: u64 = 65_536;

/// The segment that new rows fill.
///
/// Several instances fill the same segment together, so it can exceed [`MAX_ROWS`] as many times.
#[derive(Debug)]
pub(crate) struct Segment {
    number: u32,
    rows: u64,
}

impl Segment {
    /// Returns the newest segment in the table.
    ///
    /// # Errors
    /// Returns an error if the query fails.
    pub(crate) async fn newest(connection: &mut MySqlConnection) -> sqlx::Result<Self> {
        let select = "SELECT search_segment, CAST(COUNT(*) AS UNSIGNED) FROM customers
            WHERE search_segment = (SELECT MAX(search_segment) FROM customers) GROUP BY search_segment";
        let newest: Option<(u32, u64)> = sqlx::query_as(select).fetch_optional(connection).await?;
        let (number, rows) = newest.unwrap_or((0, 0));
        Ok(Self { number, rows })
    }

    /// Returns the number of the segment for the next rows.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Counts inserted rows. The next segment follows a full one.
    pub(crate) fn add(&mut self, rows: usize) {
        self.rows += rows as u64;
        if self.rows >= MAX_ROWS {
            *self = Self { number: self.number + 1, rows: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_ROWS, Segment};

    #[test]
    fn next_segment_follows_full_one() {
        let mut segment = Segment { number: 3, rows: MAX_ROWS - 2 };
        segment.add(1);
        assert_eq!(segment.number(), 3);
        segment.add(100);
        assert_eq!((segment.number(), segment.rows), (4, 0));
    }
}
