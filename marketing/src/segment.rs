//! Which part of the search indexes new rows go to.

use sqlx::MySqlConnection;

/// Of so many rows, a segment of the three indexes takes some 15 MiB, which a server keeps in memory.
const ROWS: u64 = 65_536;

/// The segment that is being filled. Several instances fill the same one together, and it may get as many
/// times larger.
#[derive(Debug)]
pub struct Segment {
    number: u32,
    rows: u64,
}

impl Segment {
    /// The newest one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn newest(connection: &mut MySqlConnection) -> sqlx::Result<Self> {
        let select = "SELECT search_segment, CAST(COUNT(*) AS UNSIGNED) FROM customers
            WHERE search_segment = (SELECT MAX(search_segment) FROM customers) GROUP BY search_segment";
        let newest: Option<(u32, u64)> = sqlx::query_as(select).fetch_optional(connection).await?;
        let (number, rows) = newest.unwrap_or((0, 0));
        Ok(Self { number, rows })
    }

    /// Its number, for the next rows.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Notes that rows went there. A full segment is followed by the next.
    pub fn add(&mut self, rows: usize) {
        self.rows += rows as u64;
        if self.rows >= ROWS {
            *self = Self { number: self.number + 1, rows: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ROWS, Segment};

    #[test]
    fn a_full_segment_is_followed_by_the_next() {
        let mut segment = Segment { number: 3, rows: ROWS - 2 };
        segment.add(1);
        assert_eq!(segment.number(), 3);
        segment.add(100);
        assert_eq!((segment.number(), segment.rows), (4, 0));
    }
}
