{{ account_videos('liked_videos') }}
