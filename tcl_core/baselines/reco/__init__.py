"""ReCo: references of classes from retrieved pictures, and pictures segmented by them."""
