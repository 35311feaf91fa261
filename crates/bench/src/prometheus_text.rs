//! Reads single figures out of Prometheus' text format.

/// The sum of all series of this name, or `None` where there is none.
pub fn total(text: &str, name: &str) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let value = match rest.as_bytes().first() {
            Some(b' ') => rest,
            Some(b'{') => rest.rsplit_once('}').map_or("", |(_, value)| value),
            _ => continue,
        };
        let value = value.split_whitespace().next().and_then(|value| value.parse::<f64>().ok());
        if let Some(value) = value {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::total;

    const TEXT: &str = "# HELP q_batch how large\n# TYPE q_batch histogram\nq_batch_bucket{le=\"1\"} 3\nq_batch_sum 40\n\
        q_batch_count 8\nq_lane{lane=\"0\"} 2\nq_lane{lane=\"1\"} 5\n";

    #[test]
    fn a_single_series_is_its_value() {
        assert_eq!(total(TEXT, "q_batch_sum"), Some(40.0));
        assert_eq!(total(TEXT, "q_batch_count"), Some(8.0));
    }

    #[test]
    fn series_with_labels_are_added_up() {
        assert_eq!(total(TEXT, "q_lane"), Some(7.0));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_another() {
        assert_eq!(total(TEXT, "q_batch"), None);
        assert_eq!(total(TEXT, "q_nothing"), None);
    }
}
