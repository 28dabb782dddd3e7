"""What is wrong with the images of a data set: near copies, wrong labels, shortcuts."""
