"""What happens with a batch: the teacher's update, its targets, and every student's update."""
