{{ account_videos('pinned_videos') }}
