{{ account_list('liked_videos', video_columns()) }}
