{{ account_list('pinned_videos', video_columns()) }}
