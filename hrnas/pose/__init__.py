"""People and their keypoints: read or drawn, cropped, turned into heatmaps and back, and scored.

This room knows nothing of networks: arrays go out to training and arrays come back (numpy and OpenCV only).
"""
