//! Which keys subscribe to an ordinary topic: a trie over the levels of their filters. What the keys are, and whether
//! one hears a message once or twice, is the caller's matter. Under `tx/` and `party/` it is not used.

use std::collections::{BTreeSet, HashMap};

/// Filters with their keys. A filter must be well formed (`classify_filter`); its depth is bounded by
/// `TOPIC_LEVELS_MAX`.
#[derive(Debug, Clone)]
pub struct SubscriptionIndex<K> {
    root: Node<K>,
}

#[derive(Debug, Clone)]
struct Node<K> {
    /// Whose filter ends here.
    keys: BTreeSet<K>,
    /// Whose filter ends in `#` here.
    open_ended: BTreeSet<K>,
    /// The level `+`.
    any: Option<Box<Node<K>>>,
    literal: HashMap<Box<str>, Node<K>>,
}

impl<K> Node<K> {
    fn new() -> Node<K> {
        Node { keys: BTreeSet::new(), open_ended: BTreeSet::new(), any: None, literal: HashMap::new() }
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.open_ended.is_empty() && self.any.is_none() && self.literal.is_empty()
    }
}

impl<K> Default for SubscriptionIndex<K> {
    fn default() -> Self {
        SubscriptionIndex { root: Node::new() }
    }
}

impl<K: Ord> SubscriptionIndex<K> {
    /// Without filters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key under a filter; once, however often it is added.
    pub fn insert(&mut self, filter: &str, key: K) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            node = match level {
                "#" => {
                    node.open_ended.insert(key);
                    return;
                }
                "+" => &mut **node.any.get_or_insert_with(|| Box::new(Node::new())),
                level => node.literal.entry(level.into()).or_insert_with(Node::new),
            };
        }
        node.keys.insert(key);
    }

    /// Removes a key from under a filter, and what then holds nothing. Whether it was there.
    pub fn remove(&mut self, filter: &str, key: &K) -> bool {
        remove_below(&mut self.root, filter, key)
    }

    /// Whether there is no filter.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }

    /// The keys whose filters match; a key with several of them comes several times.
    pub fn matches(&self, topic: &str) -> impl Iterator<Item = &K> {
        let mut found: Vec<&BTreeSet<K>> = Vec::new();
        // A topic that starts with `$` is not matched by a filter that starts with a wildcard (MQTT5 4.7.2-1).
        let mut reserved = topic.starts_with('$');
        // What is visited is bounded by the nodes of the trie, each at most once.
        let mut open: Vec<(&Node<K>, Option<&str>)> = vec![(&self.root, Some(topic))];
        while let Some((node, rest)) = open.pop() {
            let wildcards = !std::mem::take(&mut reserved);
            if wildcards {
                found.push(&node.open_ended);
            }
            let Some(rest) = rest else {
                found.push(&node.keys);
                continue;
            };
            let (level, after) = rest.split_once('/').map_or((rest, None), |(level, after)| (level, Some(after)));
            if let Some(child) = node.literal.get(level) {
                open.push((child, after));
            }
            if let Some(child) = node.any.as_deref().filter(|_| wildcards) {
                open.push((child, after));
            }
        }
        found.into_iter().flatten()
    }
}

fn remove_below<K: Ord>(node: &mut Node<K>, rest: &str, key: &K) -> bool {
    let (level, after) = rest.split_once('/').map_or((rest, None), |(level, after)| (level, Some(after)));
    if level == "#" {
        return node.open_ended.remove(key);
    }
    let child = if level == "+" { node.any.as_deref_mut() } else { node.literal.get_mut(level) };
    let Some(child) = child else { return false };
    let removed = match after {
        Some(after) => remove_below(child, after, key),
        None => child.keys.remove(key),
    };
    if child.is_empty() {
        if level == "+" {
            node.any = None;
        } else {
            node.literal.remove(level);
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::matches_naively;
    use proptest::prelude::*;

    fn index(filters: &[&'static str]) -> SubscriptionIndex<&'static str> {
        let mut index = SubscriptionIndex::new();
        filters.iter().for_each(|filter| index.insert(filter, *filter));
        index
    }

    fn matches(index: &SubscriptionIndex<&'static str>, topic: &str) -> Vec<&'static str> {
        let mut found: Vec<_> = index.matches(topic).copied().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn filters_match_as_in_the_examples_of_the_specification() {
        let index = index(&["sport/tennis/player1/#", "sport/#", "sport/+", "+/+", "/+", "+", "#"]);
        assert_eq!(matches(&index, "sport"), ["#", "+", "sport/#"]);
        assert_eq!(matches(&index, "sport/"), ["#", "+/+", "sport/#", "sport/+"]);
        assert_eq!(matches(&index, "/finance"), ["#", "+/+", "/+"]);
        assert_eq!(matches(&index, "sport/tennis/player1"), ["#", "sport/#", "sport/tennis/player1/#"]);
        assert_eq!(matches(&index, "sport/tennis/player1/ranking"), ["#", "sport/#", "sport/tennis/player1/#"]);
    }

    #[test]
    fn a_leading_wildcard_does_not_match_a_dollar_topic() {
        let index = index(&["#", "+/monitor/Clients", "$SYS/#", "$SYS/monitor/+"]);
        assert_eq!(matches(&index, "$SYS/monitor/Clients"), ["$SYS/#", "$SYS/monitor/+"]);
    }

    #[test]
    fn topics_are_compared_byte_for_byte() {
        // One letter in two spellings of Unicode, two cases, a byte order mark, a space at the end.
        let spellings = ["caf\u{e9}", "cafe\u{301}", "CAF\u{e9}", "\u{feff}caf\u{e9}", "caf\u{e9} "];
        let index = index(&spellings);
        for spelling in spellings {
            assert_eq!(matches(&index, spelling), [spelling]);
        }
    }

    #[test]
    fn removing_every_filter_leaves_nothing_behind() {
        let filters = ["a/b/c", "a/+/c", "a/#", "#", "+", "a"];
        let mut index = index(&filters);
        assert!(!index.remove("a/b", &"a/b"));
        for filter in filters {
            assert!(index.remove(filter, &filter));
            assert!(!index.remove(filter, &filter));
        }
        assert!(index.is_empty());
    }

    fn any_filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "$c", "", "+"]);
        (prop::collection::vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, open_ended)| {
                if open_ended || levels.is_empty() {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("a filter is not empty", |filter| !filter.is_empty())
    }

    fn any_topic() -> impl Strategy<Value = String> {
        let level = prop::sample::select(vec!["a", "b", "$c", ""]);
        prop::collection::vec(level, 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn the_index_matches_like_the_naive_model(
            filters in prop::collection::vec((any_filter(), any::<bool>()), 0..30),
            topics in prop::collection::vec(any_topic(), 1..10),
        ) {
            let mut index = SubscriptionIndex::new();
            for (number, (filter, _)) in filters.iter().enumerate() {
                index.insert(filter, number);
            }
            for (number, (filter, removed)) in filters.iter().enumerate() {
                if *removed {
                    prop_assert!(index.remove(filter, &number));
                }
            }
            for topic in topics {
                let mut found: Vec<_> = index.matches(&topic).copied().collect();
                found.sort_unstable();
                let expected: Vec<_> = filters.iter().enumerate()
                    .filter(|(_, (filter, removed))| !removed && matches_naively(filter, &topic))
                    .map(|(number, _)| number)
                    .collect();
                prop_assert_eq!(found, expected, "topic {}", topic);
            }
        }
    }
}
